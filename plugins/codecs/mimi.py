"""Mimi (Defossez et al. 2024), streamed a frame at a time with explicit state: what transformers keeps, and the overlaps it does not."""

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
    """Of the encoder: samples not coded yet, the attention's keys and values, the convolutions' last inputs."""

    rest: Samples
    attention: Any = None
    inputs: Any = None


@dataclass(frozen=True, slots=True)
class MimiDecoderState:
    """Of the decoder: the last latent [1, D, 1], the attention's keys and values, what the convolutions still read [1, D, C]."""

    latent: Any = None
    attention: Any = None
    context: Any = None


class MimiCodec:
    """Its convolutions and its attention look back only, so a frame of 80 ms comes out as soon as it is full.

    States are copied before they are used: a state may go into several calls, which makes a fork.
    """

    def __init__(self, model: LoadedCodec) -> None:
        config, net = model.net.config, model.net
        if not hasattr(net.decoder, "decoder_seanet"):
            raise PrerequisiteError("Codec 'mimi' needs transformers 5.24 or newer: pip install -U transformers")
        self.sample_rate_hz: int = config.sampling_rate
        self.hop = round(config.sampling_rate / config.frame_rate)
        self.frame_rate_hz = config.sampling_rate / self.hop
        self.num_codebooks, self.cardinality = model.codebooks, int(config.codebook_size)
        self._model, self._net, self._reach = model, net, reach(config)

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        return {**self._model.about(), "streaming": "a frame at a time"}

    def encode(
        self, audio: Samples, state: MimiEncoderState | None = None, last: bool = False
    ) -> tuple[Codes, MimiEncoderState]:
        """[T] -> [K, F], the whole frames; a last, unfinished one is filled up with zeros."""
        import torch

        at = copy.deepcopy(state) or MimiEncoderState(np.zeros(0, np.float32))
        wave = np.concatenate([at.rest, np.asarray(audio, np.float32)])
        if last:
            wave = np.pad(wave, (0, -len(wave) % self.hop))
        made, attention, inputs = [np.zeros((self.num_codebooks, 0), np.int64)], at.attention, at.inputs
        with torch.no_grad():
            for start in range(0, len(wave) - self.hop + 1, self.hop):
                x = self._on(wave[start : start + self.hop])[None, None]
                out = self._net.encode(x, encoder_cache=attention, padding_cache=inputs, use_streaming=True)
                attention, inputs = out.encoder_cache, out.padding_cache
                made.append(out.audio_codes[0, : self.num_codebooks].cpu().numpy())
        return np.concatenate(made, axis=1), MimiEncoderState(
            wave[len(wave) // self.hop * self.hop :], attention, inputs
        )

    def decode(
        self, codes: Codes, state: MimiDecoderState | None = None, last: bool = False
    ) -> tuple[Samples, MimiDecoderState]:
        """[K, F] -> [F * hop]"""
        import torch

        at, made = copy.deepcopy(state) or MimiDecoderState(), [np.zeros(0, np.float32)]
        with torch.no_grad():
            for frame in np.asarray(codes, np.int64).T:
                wave, at = self._frame(self._net.quantizer.decode(self._on(frame)[None, :, None]), at)
                made.append(wave)
        return np.clip(np.concatenate(made), -1, 1), at

    def _frame(self, latent: Any, at: MimiDecoderState) -> tuple[Samples, MimiDecoderState]:
        """One latent [1, D, 1] -> its samples. Each part is given what it still reads of the past, and that is cut off again."""
        import torch

        decoder = self._net.decoder
        both = latent if at.latent is None else torch.cat([at.latent, latent], -1)
        x = decoder.upsample(both)  # [1, D, positions]: each latent reaches into the positions of the next
        x = x[..., x.shape[-1] // both.shape[-1] * (both.shape[-1] - 1) :]
        out = decoder.decoder_transformer(x.transpose(1, 2), cache=at.attention, use_cache=True)
        x = out.last_hidden_state.transpose(1, 2)
        context = x if at.context is None else torch.cat([at.context, x], -1)
        wave = decoder.decoder_seanet(context)[0, 0, -self.hop :].float().cpu().numpy()
        return wave, MimiDecoderState(latent, out.cache, context[..., -self._reach :])

    def _on(self, array: Any) -> Any:
        import torch

        return torch.tensor(array, device=self._net.device)


def reach(config: Any) -> int:
    """How many positions before its own the convolutions after the attention read, at most."""
    found, rate = float(config.kernel_size - 1), 1
    for ratio in config.upsampling_ratios:
        found += 1 / rate  # a transposed convolution of two strides
        rate *= ratio
        for layer in range(config.num_residual_layers):
            found += (config.residual_kernel_size - 1) * config.dilation_growth_rate**layer / rate
    return math.ceil(found + (config.last_kernel_size - 1) / rate)
