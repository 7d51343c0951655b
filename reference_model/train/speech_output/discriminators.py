"""Discriminators of the codec training: networks that separate speech from generated audio, and the losses of both
sides.

Each of HiFi-GAN's period discriminators (arXiv 2010.05646, section 2.3) folds the waveform to rows of one period. The
others read complex spectrograms of several resolutions (EnCodec, arXiv 2210.13438, section 3.4).

Both sides are trained in one backward pass: the discriminators read the generated audio detached from the generator,
and the generator's losses use the discriminators with detached weights. One optimizer and one checkpoint therefore hold
both.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from reference_model.codec.convnext import SPREAD, MelFrames

SLOPE = 0.1  # negative slope of the leaky ReLUs
MEL_WINDOWS = (256, 512, 1024, 2048)  # samples
SAMPLES_PER_MEL = 16  # samples of a window per mel band


@dataclass(frozen=True, slots=True)
class DiscriminatorConfig:
    """Sizes of the discriminators; HiFi-GAN's periods, the three middle windows of EnCodec."""

    width: int = 32  # channels of the first layer
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)  # samples
    windows: tuple[int, ...] = (512, 1024, 2048)  # samples of an STFT window; the hop is a quarter

    def build(self) -> Discriminators:
        return Discriminators(self)


@dataclass(frozen=True, slots=True)
class DiscriminatorOutput:
    """Losses, scalars: of the discriminators (LSGAN), and of the generator (LSGAN and feature matching)."""

    discriminator_loss: Tensor
    generator_loss: Tensor
    feature_loss: Tensor


ScoresAndLayers = tuple[
    Tensor, list[Tensor]
]  # scores, near 1 for speech and 0 for generated audio; the layers' outputs


class Discriminators(nn.Module):
    """All discriminators. `forward(real, generated)`: waveforms [B, T] -> the losses of both sides."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        periods = (PeriodDiscriminator(period, config.width) for period in config.periods)
        spectra = (SpectrumDiscriminator(window, config.width) for window in config.windows)
        self.judges = nn.ModuleList([*periods, *spectra])

    def forward(self, real: Tensor, generated: Tensor) -> DiscriminatorOutput:
        """Returns the losses; `discriminator_loss` has gradients in the discriminators only, the others in `generated`
        only.
        """
        batch = len(real)
        discriminator_loss, generator_loss, feature_loss = (real.new_zeros(()) for _ in range(3))
        for discriminator in self.judges:
            scores, layers = discriminator(torch.cat([real, generated.detach()]))
            discriminator_loss = (
                discriminator_loss + (1 - scores[:batch]).square().mean() + scores[batch:].square().mean()
            )
            frozen = {name: value.detach() for name, value in discriminator.named_parameters()}
            scores, generated_layers = functional_call(discriminator, frozen, (generated,))
            generator_loss = generator_loss + (1 - scores).square().mean()
            feature_loss = feature_loss + _feature_distance(
                [layer[:batch].detach() for layer in layers], generated_layers
            )
        return DiscriminatorOutput(discriminator_loss, generator_loss, feature_loss)


class PeriodDiscriminator(nn.Module):
    """Convolutions along the columns of waveforms [B, T] folded to `period` columns (HiFi-GAN)."""

    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        sizes = (1, width, 4 * width, 16 * width, 32 * width)
        strided = [_conv(a, b, (5, 1), (3, 1)) for a, b in itertools.pairwise(sizes)]
        self.layers = nn.ModuleList([*strided, _conv(sizes[-1], sizes[-1], (5, 1))])
        self.last = _conv(sizes[-1], 1, (3, 1))

    def forward(self, audio: Tensor) -> ScoresAndLayers:
        audio = functional.pad(audio, (0, -audio.shape[-1] % self.period), "reflect")
        return _run_layers(
            audio.unflatten(-1, (-1, self.period))[:, None], self.layers, self.last
        )  # [B, 1, T / period, period]


class SpectrumDiscriminator(nn.Module):
    """Convolutions over complex spectrograms of waveforms [B, T] that halve the frequency resolution (EnCodec)."""

    def __init__(self, window: int, width: int) -> None:
        super().__init__()
        self.window = window
        strided = [_conv(width, width, (3, 9), (1, 2)) for _ in range(3)]
        self.layers = nn.ModuleList([_conv(2, width, (3, 9)), *strided, _conv(width, width, (3, 3))])
        self.last = _conv(width, 1, (3, 3))

    def forward(self, audio: Tensor) -> ScoresAndLayers:
        shape = torch.hann_window(self.window, device=audio.device)
        spectrum = torch.stft(
            audio, self.window, self.window // 4, window=shape, normalized=True, return_complex=True
        )  # [B, window / 2 + 1, F]
        image = torch.stack([spectrum.real, spectrum.imag], 1).transpose(2, 3)  # [B, 2, F, window / 2 + 1]
        return _run_layers(image, self.layers, self.last)


def mel_distance(real: Tensor, generated: Tensor, rate_hz: int) -> Tensor:
    """Returns the mean L1 distance of log-mel spectrograms of waveforms [B, T], over several window lengths."""
    distances = [(frames(real) - frames(generated)).abs().mean() for frames in _mels(rate_hz)]
    return torch.stack(distances).mean() * SPREAD  # MelFrames divides by SPREAD


@cache
def _mels(rate_hz: int) -> Sequence[MelFrames]:
    return [MelFrames(rate_hz, window // 4, min(80, window // SAMPLES_PER_MEL), window) for window in MEL_WINDOWS]


def _run_layers(image: Tensor, layers: nn.ModuleList, last: nn.Module) -> ScoresAndLayers:
    """Returns scores [B, ...] and the outputs of all layers for an image [B, C, H, W]."""
    outputs = []
    for layer in layers:
        image = functional.leaky_relu(layer(image), SLOPE)
        outputs.append(image)
    scores = last(image)
    return scores.flatten(1), [*outputs, scores]


def _feature_distance(real: Sequence[Tensor], generated: Sequence[Tensor]) -> Tensor:
    """Returns the feature-matching loss: the mean L1 distance of the outputs of each layer, summed over layers."""
    return torch.stack([functional.l1_loss(b, a) for a, b in zip(real, generated, strict=True)]).sum()


def _conv(inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1)) -> nn.Module:
    padding = (kernel[0] // 2, kernel[1] // 2)
    return weight_norm(nn.Conv2d(inputs, outputs, kernel, stride, padding))
