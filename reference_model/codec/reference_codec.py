"""The reference codec: mel frames, ConvNeXt encoder, residual vector quantization, HiFi-GAN generator; exact streaming."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fobench.errors import FobenchError
from reference_model.codec.convnext import ConvNeXtDecoder, ConvNeXtEncoder, MelFrames
from reference_model.codec.exact_streaming import (
    ConvSpec,
    Windowed,
    WindowedChain,
    WindowState,
    rate,
    receptive_field,
)
from reference_model.codec.hifigan import OUTER, PIPER_GENERATOR, Generator, GeneratorConfig
from reference_model.codec.residual_vq import ResidualVQ


@dataclass(frozen=True, slots=True)
class CodecConfig:
    """Sizes of a codec. By default a codec frame is two frames of Piper's generator: 43.07 Hz, 861 bit/s."""

    sample_rate_hz: int = 22_050
    hop: int = 512  # samples per frame: a multiple of the generator's
    codebooks: int = 2
    cardinality: int = 1024
    code_size: int = 32  # of a codebook's vectors
    width: int = 256  # channels of encoder and decoder
    mels: int = 80
    fft: int = 1024  # samples of a mel frame
    encoder_blocks: int = 4
    decoder_blocks: int = 2
    generator: GeneratorConfig = field(default=PIPER_GENERATOR)

    def __post_init__(self) -> None:
        if self.hop % self.generator.hop:
            raise FobenchError(
                f"The codec's hop {self.hop} must be a multiple of its generator's, {self.generator.hop}."
            )
        if self.fft < self.generator.hop or (self.fft - self.generator.hop) % 2:
            raise FobenchError(
                f"The codec's fft {self.fft} must exceed its mel hop {self.generator.hop} by an even number."
            )

    @property
    def stack(self) -> int:
        """Generator frames per codec frame."""
        return self.hop // self.generator.hop

    @property
    def frame_rate_hz(self) -> float:
        return self.sample_rate_hz / self.hop

    @property
    def num_codebooks(self) -> int:
        return self.codebooks

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CodecConfig:
        """From plain data, as `dataclasses.asdict` returns it. Raises FobenchError for any other data."""
        try:
            generator = {key: _tuples(value) for key, value in data["generator"].items()}
            return cls(**{**data, "generator": GeneratorConfig(**generator)})
        except (KeyError, TypeError, AttributeError) as error:
            raise FobenchError(f"This is not the configuration of a reference codec: {error}.") from error

    def build(self) -> ReferenceCodec:
        return ReferenceCodec(self)


class ReferenceCodec(nn.Module):
    """Waveform [B, T] in [-1, 1] at `sample_rate_hz` <-> codes [B, K, F], int64. The last frame is padded with zeros.

    `weight_normed(codec.generator)` and the losses are the trainer's; it trains the codebooks by `ResidualVQ.start` and `follow`.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.mels = MelFrames(config.sample_rate_hz, config.generator.hop, config.mels, config.fft)
        self.encoder = ConvNeXtEncoder(config.mels, config.stack, config.width, config.encoder_blocks)
        self.quantizer = ResidualVQ(config.codebooks, config.cardinality, config.width, config.code_size)
        self.decoder = ConvNeXtDecoder(config.width, config.stack, config.generator.inputs, config.decoder_blocks)
        self.generator = Generator(config.generator)
        assert 1 / rate(self.encode_layers) == rate(self.decode_layers) == config.hop

    @property
    def sample_rate_hz(self) -> int:
        return self.config.sample_rate_hz

    @property
    def device(self) -> torch.device:
        return self.quantizer.codebooks.device

    @property
    def lookahead(self) -> int:
        """Frames that `decode_step` holds back until the next ones are known."""
        return receptive_field(self.decode_layers)[1]

    @property
    def encode_layers(self) -> tuple[ConvSpec, ...]:
        """The layers from samples to codes, for exact streaming."""
        return *self.mels.layers, *self.encoder.layers

    @property
    def decode_layers(self) -> tuple[ConvSpec, ...]:
        """The layers from codes to samples, for exact streaming."""
        return *self.decoder.layers, *self.generator.layers

    def encode(self, audio: Tensor) -> Tensor:
        """[B, T] -> [B, K, ceil(T / hop)]"""
        return self.encode_step(audio, last=True)[0]

    def decode(self, codes: Tensor) -> Tensor:
        """[B, K, F] -> [B, F * hop]"""
        return self.decode_step(codes, last=True)[0]

    def encode_step(
        self, audio: Tensor, state: WindowState | None = None, last: bool = False
    ) -> tuple[Tensor, WindowState]:
        """The next samples [B, T], T >= 0 -> (the codes [B, K, F] that become settled, state); `last`: all remaining codes."""
        if last:
            audio = self._padded(audio, state.end if state else 0)
        return self._encoding().step(audio, state, last)

    def decode_step(
        self, codes: Tensor, state: tuple[WindowState, ...] | None = None, last: bool = False
    ) -> tuple[Tensor, tuple[WindowState, ...]]:
        """The next codes [B, K, F], F >= 0 -> (the audio [B, T] that becomes settled, state); `last`: all remaining audio."""
        return self._decoding().step(codes, state, last)

    def _encoding(self) -> Windowed:
        def empty(audio: Tensor) -> Tensor:
            return torch.zeros(len(audio), self.config.codebooks, 0, dtype=torch.int64, device=audio.device)

        return Windowed(lambda x: self.quantizer.encode(self.encoder(self.mels(x))), self.encode_layers, empty)

    def _decoding(self) -> WindowedChain:
        """The generator's stages are parts of their own, the first one with the decoder, the last one with the waveform."""
        generator, (*stages, last) = self.generator, self.generator.stages

        def part(function: Callable[[Tensor], Tensor], layers: Sequence[ConvSpec], *channels: int) -> Windowed:
            return Windowed(function, layers, lambda x: self.quantizer.codebooks.new_zeros(len(x), *channels, 0))

        def enter(codes: Tensor) -> Tensor:
            frames: Tensor = generator.pre(self.decoder(self.quantizer.decode(codes)))
            return frames

        return WindowedChain(
            [
                part(enter, (*self.decoder.layers, OUTER), self.config.generator.channels),
                *(part(stage, stage.layers, stage.up.out_channels) for stage in stages),
                part(lambda x: generator.waveform(last(x)), (*last.layers, OUTER)),
            ]
        )

    def _padded(self, audio: Tensor, before: int = 0) -> Tensor:
        """The samples, after `before` earlier ones, zero-padded to a multiple of the hop in total."""
        return functional.pad(audio, (0, -(before + audio.shape[-1]) % self.config.hop))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
