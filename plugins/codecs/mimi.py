"""Mimi (Defossez et al. 2024, arXiv 2410.00037), streamed frame by frame with explicit state.

The state holds the caches of transformers, and the decoder overlaps that transformers does not keep.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fobench.api.types import Samples
from fobench.errors import PrerequisiteError
from fobench_plugins.codecs.transformers_codecs import LoadedCodec
from fobench_plugins.codecs.windowed_streaming import Codes


@dataclass(frozen=True, slots=True)
class MimiEncoderState:
    """Encoder state: samples not encoded yet, the KV cache, and the convolutions' last inputs."""

    rest: Samples
    attention: Any = None
    inputs: Any = None


@dataclass(frozen=True, slots=True)
class MimiDecoderState:
    """Decoder state: the last latent [1, D, 1], the KV cache, and the convolutions' left context [1, D, C]."""

    latent: Any = None
    attention: Any = None
    context: Any = None


class MimiCodec:
    """Causal convolutions and attention: a frame of 80 ms is available as soon as its samples are.

    States are copied before use, so that a state can be passed to several calls (a fork).
    """

    def __init__(self, model: LoadedCodec) -> None:
        config, net = model.net.config, model.net
        if not hasattr(net.decoder, "decoder_seanet"):
            raise PrerequisiteError("Codec 'mimi' needs transformers 5.24 or newer: pip install -U transformers")
        self.sample_rate_hz: int = config.sampling_rate
        self.hop = round(config.sampling_rate / config.frame_rate)
        self.frame_rate_hz = config.sampling_rate / self.hop
        self.num_codebooks, self.cardinality = model.codebooks, int(config.codebook_size)
        self._model, self._net, self._receptive_field = model, net, receptive_field(config)

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        return {**self._model.about(), "streaming": "a frame at a time"}

    def encode(
        self, audio: Samples, state: MimiEncoderState | None = None, last: bool = False
    ) -> tuple[Codes, MimiEncoderState]:
        """[T] -> [K, F], the complete frames; with `last`, an incomplete one is zero-padded."""
        import torch

        state = copy.deepcopy(state) or MimiEncoderState(np.zeros(0, np.float32))
        wave = np.concatenate([state.rest, np.asarray(audio, np.float32)])
        if last:
            wave = np.pad(wave, (0, -len(wave) % self.hop))
        frames, attention, inputs = (
            [np.zeros((self.num_codebooks, 0), np.int64)],
            state.attention,
            state.inputs,
        )
        with torch.no_grad():
            for start in range(0, len(wave) - self.hop + 1, self.hop):
                x = self._to_device(wave[start : start + self.hop])[None, None]
                out = self._net.encode(x, encoder_cache=attention, padding_cache=inputs, use_streaming=True)
                attention, inputs = out.encoder_cache, out.padding_cache
                frames.append(out.audio_codes[0, : self.num_codebooks].cpu().numpy())
        return np.concatenate(frames, axis=1), MimiEncoderState(
            wave[len(wave) // self.hop * self.hop :], attention, inputs
        )

    def decode(
        self, codes: Codes, state: MimiDecoderState | None = None, last: bool = False
    ) -> tuple[Samples, MimiDecoderState]:
        """[K, F] -> [F * hop] samples."""
        import torch

        state, frames = copy.deepcopy(state) or MimiDecoderState(), [np.zeros(0, np.float32)]
        with torch.no_grad():
            for frame in np.asarray(codes, np.int64).T:
                wave, state = self._frame(self._net.quantizer.decode(self._to_device(frame)[None, :, None]), state)
                frames.append(wave)
        return np.clip(np.concatenate(frames), -1, 1), state

    def _frame(self, latent: Any, state: MimiDecoderState) -> tuple[Samples, MimiDecoderState]:
        """One latent [1, D, 1] -> its samples [hop]. Each layer gets its left context, whose outputs are dropped."""
        import torch

        decoder = self._net.decoder
        latents = latent if state.latent is None else torch.cat([state.latent, latent], -1)
        x = decoder.upsample(latents)  # [1, D, positions]: each latent overlaps the positions of the next
        x = x[..., x.shape[-1] // latents.shape[-1] * (latents.shape[-1] - 1) :]
        out = decoder.decoder_transformer(x.transpose(1, 2), cache=state.attention, use_cache=True)
        x = out.last_hidden_state.transpose(1, 2)
        context = x if state.context is None else torch.cat([state.context, x], -1)
        wave = decoder.decoder_seanet(context)[0, 0, -self.hop :].float().cpu().numpy()
        return wave, MimiDecoderState(latent, out.cache, context[..., -self._receptive_field :])

    def _to_device(self, array: Any) -> Any:
        import torch

        return torch.tensor(array, device=self._net.device)


def receptive_field(config: Any) -> int:
    """Left context of the convolutions after the attention, in positions (an upper bound)."""
    positions, rate = float(config.kernel_size - 1), 1
    for ratio in config.upsampling_ratios:
        positions += 1 / rate  # a transposed convolution of two strides
        rate *= ratio
        for layer in range(config.num_residual_layers):
            positions += (config.residual_kernel_size - 1) * config.dilation_growth_rate**layer / rate
    return math.ceil(positions + (config.last_kernel_size - 1) / rate)
