"""The codec's adversary: nets that tell speech from what the generator made, and the losses of both sides.

Each of HiFi-GAN's period discriminators (arXiv 2010.05646, section 2.3) folds the waveform to rows of one period. The others see
spectrograms of several resolutions, real and imaginary parts (EnCodec, arXiv 2210.13438, section 3.4).

Both sides learn in one backward pass: the adversary sees the made audio cut off from the generator, and the generator is judged
by a copy of the adversary that learns nothing. So one optimiser holds both, and a checkpoint is complete without more.
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

SLOPE = 0.1  # of the leaky ReLUs
MEL_WINDOWS = (256, 512, 1024, 2048)  # samples
MELS_OF = 16  # samples of a window for one mel band


@dataclass(frozen=True, slots=True)
class DiscriminatorConfig:
    """Sizes; the periods are HiFi-GAN's, the windows EnCodec's in the middle."""

    width: int = 32  # channels of the first layer
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)  # samples
    windows: tuple[int, ...] = (512, 1024, 2048)  # samples of a spectrum; a hop is a quarter

    def build(self) -> Discriminators:
        return Discriminators(self)


@dataclass(frozen=True, slots=True)
class DiscriminatorOutput:
    """Losses, scalars. `wrong`: the adversary's own (LSGAN); `caught` and `features`: the generator's (LSGAN, feature matching)."""

    wrong: Tensor
    caught: Tensor
    features: Tensor


Judgement = tuple[Tensor, list[Tensor]]  # scores near 1 for speech and 0 for what is made; the layers' outputs


class Discriminators(nn.Module):
    """All discriminators. `forward(real, made)`: waveforms [B, T] -> the losses of both sides."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        periods = (PeriodDiscriminator(period, config.width) for period in config.periods)
        spectra = (SpectrumDiscriminator(window, config.width) for window in config.windows)
        self.judges = nn.ModuleList([*periods, *spectra])

    def forward(self, real: Tensor, made: Tensor) -> DiscriminatorOutput:
        """Gradients: of `wrong` into the adversary alone, of the other two into `made` alone."""
        batch, wrong, caught, features = len(real), real.new_zeros(()), real.new_zeros(()), real.new_zeros(())
        for judge in self.judges:
            scores, layers = judge(torch.cat([real, made.detach()]))
            wrong = wrong + (1 - scores[:batch]).square().mean() + scores[batch:].square().mean()
            frozen = {name: value.detach() for name, value in judge.named_parameters()}
            scores, seen = functional_call(judge, frozen, (made,))
            caught = caught + (1 - scores).square().mean()
            features = features + _apart([layer[:batch].detach() for layer in layers], seen)
        return DiscriminatorOutput(wrong, caught, features)


class PeriodDiscriminator(nn.Module):
    """Waveforms [B, T] as images of `period` columns, through convolutions along the columns."""

    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        sizes = (1, width, 4 * width, 16 * width, 32 * width)
        strided = [_conv(a, b, (5, 1), (3, 1)) for a, b in itertools.pairwise(sizes)]
        self.layers = nn.ModuleList([*strided, _conv(sizes[-1], sizes[-1], (5, 1))])
        self.last = _conv(sizes[-1], 1, (3, 1))

    def forward(self, audio: Tensor) -> Judgement:
        audio = functional.pad(audio, (0, -audio.shape[-1] % self.period), "reflect")
        return _judged(
            audio.unflatten(-1, (-1, self.period))[:, None], self.layers, self.last
        )  # [B, 1, T / period, period]


class SpectrumDiscriminator(nn.Module):
    """Complex spectrograms of waveforms [B, T], through convolutions that halve the frequencies."""

    def __init__(self, window: int, width: int) -> None:
        super().__init__()
        self.window = window
        strided = [_conv(width, width, (3, 9), (1, 2)) for _ in range(3)]
        self.layers = nn.ModuleList([_conv(2, width, (3, 9)), *strided, _conv(width, width, (3, 3))])
        self.last = _conv(width, 1, (3, 3))

    def forward(self, audio: Tensor) -> Judgement:
        shape = torch.hann_window(self.window, device=audio.device)
        spectrum = torch.stft(
            audio, self.window, self.window // 4, window=shape, normalized=True, return_complex=True
        )  # [B, window / 2 + 1, F]
        image = torch.stack([spectrum.real, spectrum.imag], 1).transpose(2, 3)  # [B, 2, F, window / 2 + 1]
        return _judged(image, self.layers, self.last)


def mel_distance(real: Tensor, made: Tensor, rate_hz: int) -> Tensor:
    """Mean distance of log-mel spectrograms of waveforms [B, T], over windows of several lengths."""
    found = [(frames(real) - frames(made)).abs().mean() for frames in _mels(rate_hz)]
    return torch.stack(found).mean() * SPREAD  # the frames are divided by it


@cache
def _mels(rate_hz: int) -> Sequence[MelFrames]:
    return [MelFrames(rate_hz, window // 4, min(80, window // MELS_OF), window) for window in MEL_WINDOWS]


def _judged(image: Tensor, layers: nn.ModuleList, last: nn.Module) -> Judgement:
    """[B, C, H, W] -> (scores [B, ...], every layer's output)"""
    seen = []
    for layer in layers:
        image = functional.leaky_relu(layer(image), SLOPE)
        seen.append(image)
    scores = last(image)
    return scores.flatten(1), [*seen, scores]


def _apart(real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """Feature matching: the mean distance of the layers' outputs, summed over layers."""
    return torch.stack([functional.l1_loss(b, a) for a, b in zip(real, made, strict=True)]).sum()


def _conv(inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1)) -> nn.Module:
    padding = (kernel[0] // 2, kernel[1] // 2)
    return weight_norm(nn.Conv2d(inputs, outputs, kernel, stride, padding))
