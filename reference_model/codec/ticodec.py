"""TiCodec (arXiv 2310.00014), the codec of the published Freeze-Omni: 24 kHz, 40 frames/s of one codebook.

A frame's code is a row of the local codebook. Eight global codes, fixed for all speech, represent the voice: their vectors,
concatenated, are added inside the generator. The encoder is optional.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from reference_model.codec.exact_streaming import ConvSpec
from reference_model.codec.hifigan import Generator, GeneratorConfig, ResidualBlock
from reference_model.codec.residual_vq import nearest

GENERATOR = GeneratorConfig(
    inputs=512,
    channels=512,
    rates=(8, 5, 5, 3),
    kernels=(16, 11, 11, 5),
    block_kernels=(3, 7, 11),
    dilations=((1, 3, 5), (1, 3, 5), (1, 3, 5)),
    global_size=128,
)
VOICE = (473, 975, 419, 219, 565, 121, 550, 616)  # the published global codes
LAST_SLOPE = 0.01  # of the encoder's last leaky ReLU; all others have the generator's
NORM_CHANNELS = 16  # per group of the encoder's group norms
NORM_EPS = 1e-6


@dataclass(frozen=True, slots=True)
class TiCodecConfig:
    """Sizes as published. `voice`: the global codes, one for each global codebook."""

    sample_rate_hz: int = 24_000
    cardinality: int = 1024
    generator: GeneratorConfig = field(default=GENERATOR)
    voice: tuple[int, ...] = VOICE
    context: int = (
        10  # frames of context on both sides in streamed decoding; less than the receptive field, as published
    )
    with_encoder: bool = False  # 47 M parameters that synthesis does not need

    @property
    def hop(self) -> int:
        """Samples per frame."""
        return self.generator.hop

    @property
    def frame_rate_hz(self) -> float:
        return self.sample_rate_hz / self.hop

    @property
    def num_codebooks(self) -> int:
        return 1

    def build(self) -> TiCodec:
        return TiCodec(self)


@dataclass(frozen=True, slots=True)
class TiCodecState:
    """Codes [B, 1, n] that are still needed; the first `left` of them are already decoded."""

    codes: Tensor
    left: int = 0


class TiCodec(nn.Module):
    """Codes [B, 1, F] <-> waveform [B, T]. `voice` below is a vector [B, G] (None: that of the configured global codes)."""

    def __init__(self, config: TiCodecConfig) -> None:
        super().__init__()
        size = config.generator.global_size
        assert size is not None and size % len(config.voice) == 0, "the global codebooks share the global vector evenly"
        self.config = config
        self.generator = Generator(config.generator)
        self.quantizer = TiCodecQuantizer(config.cardinality, config.generator.inputs, len(config.voice), size)
        self.encoder = TiCodecEncoder(config.generator) if config.with_encoder else None

    @property
    def sample_rate_hz(self) -> int:
        return self.config.sample_rate_hz

    @property
    def device(self) -> torch.device:
        return self.quantizer.local.weight.device

    @property
    def lookahead(self) -> int:
        """Frames that `decode_step` holds back until the next ones are known."""
        return self.config.context

    @property
    def layers(self) -> tuple[ConvSpec, ...]:
        """The layers, for exact streaming, which has more context than the published one."""
        return self.generator.layers

    def decode(self, codes: Tensor, voice: Tensor | None = None) -> Tensor:
        """[B, 1, F] -> [B, F * hop]"""
        if voice is None:
            chosen = torch.tensor(self.config.voice, device=codes.device)
            voice = self.quantizer.voice(chosen.expand(len(codes), -1))
        return self.generator(self.quantizer.frames(codes), voice)

    def decode_step(
        self,
        codes: Tensor,
        state: TiCodecState | None = None,
        last: bool = False,
        *,
        chunk: int | None = None,
        voice: Tensor | None = None,
    ) -> tuple[Tensor, TiCodecState]:
        """The next codes [B, 1, F], any F from 0 -> (audio [B, T], state). `context` frames are held back until `last`.

        `chunk`: decode in windows of exactly so many new frames (published: 20, later 40), so that the audio does not depend on
        the number of codes per call. None: decode all frames at once.
        """
        state = state or TiCodecState(codes[..., :0])
        state = TiCodecState(torch.cat([state.codes, codes], -1), state.left)
        pieces = [self._nothing(codes)]
        while (size := 0 if last and chunk is None else self._due(state, chunk)) > 0:
            piece, state = self._window(state, size, voice)
            pieces.append(piece)
        if last and state.codes.shape[-1] > state.left:
            pieces.append(self.decode(state.codes, voice)[:, state.left * self.config.hop :])
            state = TiCodecState(codes[..., :0])
        return torch.cat(pieces, -1), state

    def encode(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Audio [B, T], T a multiple of the hop -> (codes [B, 1, F], global codes [B, G]). Complete signals only: the encoder
        normalizes over time. Raises ValueError if built without the encoder."""
        if self.encoder is None:
            raise ValueError("This TiCodec has no encoder: set with_encoder in its configuration.")
        frames, voice = self.encoder(audio)
        return self.quantizer.codes(frames), self.quantizer.voice_codes(voice)

    def _due(self, state: TiCodecState, chunk: int | None) -> int:
        """The number of frames that can be decoded now."""
        ready = state.codes.shape[-1] - state.left - self.config.context
        return max(0, ready) if chunk is None else chunk * (ready >= chunk)

    def _window(self, state: TiCodecState, size: int, voice: Tensor | None) -> tuple[Tensor, TiCodecState]:
        """Audio of the next `size` frames, with the context there is to the left and all of it to the right."""
        end, hop = state.left + size, self.config.hop
        audio = self.decode(state.codes[..., : end + self.config.context], voice)
        left = min(end, self.config.context)
        next_state = TiCodecState(state.codes[..., end - left :], left)
        return audio[:, state.left * hop : end * hop], next_state

    def _nothing(self, codes: Tensor) -> Tensor:
        return self.quantizer.local.weight.new_zeros(len(codes), 0)


class TiCodecQuantizer(nn.Module):
    """The local codebook [N, C], and the global codebooks, each for an equal part of the global vector."""

    def __init__(self, cardinality: int, size: int, globals_: int, global_size: int) -> None:
        super().__init__()
        self.local = nn.Embedding(cardinality, size)
        self.voices: Any = nn.ModuleList(nn.Embedding(cardinality, global_size // globals_) for _ in range(globals_))

    def frames(self, codes: Tensor) -> Tensor:
        """[B, 1, F] -> [B, C, F]"""
        return self.local(codes[:, 0]).transpose(1, 2)

    def codes(self, frames: Tensor) -> Tensor:
        """[B, C, F] -> [B, 1, F]: the nearest rows."""
        return nearest(frames.transpose(1, 2), self.local.weight)[:, None]

    def voice(self, codes: Tensor) -> Tensor:
        """Global codes [B, G] -> global vector [B, C]"""
        return torch.cat([book(codes[:, index]) for index, book in enumerate(self.voices)], -1)

    def voice_codes(self, voice: Tensor) -> Tensor:
        """Global vector [B, C] -> global codes [B, G]"""
        shares = voice.chunk(len(self.voices), -1)
        return torch.stack([nearest(share, book.weight) for share, book in zip(shares, self.voices, strict=True)], -1)


class TiCodecEncoder(nn.Module):
    """Waveform -> frames and global vector: the reverse of the generator, with group norms after the residual blocks."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        assert config.global_size is not None
        width = config.channels >> len(config.rates)
        self.slope, self.global_size = config.slope, config.global_size
        self.pre = nn.Conv1d(1, width, 7, padding=3)
        mirrored = zip(reversed(config.rates), reversed(config.kernels), strict=True)
        self.stages = nn.ModuleList(
            EncoderStage(width << index, rate, kernel, config) for index, (rate, kernel) in enumerate(mirrored)
        )
        self.post = nn.Conv1d(config.channels, config.inputs, 3, padding=1)
        self.voice = VoiceEncoder(config.global_size, config.slope)

    def forward(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T] -> (frames [B, C, F], global vector [B, G])"""
        x, voice = self.pre(audio[:, None]), None
        for stage in self.stages:
            x = stage(x)
            if x.shape[1] == self.global_size:
                voice = self.voice(x)
        assert voice is not None, "no stage is as wide as the global vector"
        return self.post(functional.leaky_relu(x, LAST_SLOPE)), voice


class EncoderStage(nn.Module):
    """A strided convolution that doubles the channels; residual blocks, whose running sum is normalized after each."""

    def __init__(self, channels: int, rate: int, kernel: int, config: GeneratorConfig) -> None:
        super().__init__()
        wide, slope = 2 * channels, config.slope
        self.slope = slope
        self.down = nn.Conv1d(channels, wide, kernel, rate, padding=(kernel - rate) // 2)
        blocks = zip(reversed(config.block_kernels), reversed(config.dilations), strict=True)
        self.blocks = nn.ModuleList(ResidualBlock(wide, k, dilations, slope=slope) for k, dilations in blocks)
        groups = max(1, wide // NORM_CHANNELS)
        self.norms = nn.ModuleList(nn.GroupNorm(groups, wide, eps=NORM_EPS) for _ in self.blocks)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, F * rate] -> [B, 2C, F]"""
        x = self.down(functional.leaky_relu(x, self.slope))
        total: Tensor | float = 0.0
        for block, norm in zip(self.blocks, self.norms, strict=True):
            total = norm(total + block(x))
        assert isinstance(total, Tensor)
        return total / len(self.blocks)


class VoiceEncoder(nn.Module):
    """Frames [B, C, F] -> global vector [B, C]: three convolutions, the mean over time, a linear layer, batch norm."""

    def __init__(self, size: int, slope: float) -> None:
        super().__init__()
        widths = (size, size // 2, size // 2, size)
        self.slope = slope
        self.convs = nn.ModuleList(nn.Conv1d(a, b, 3, padding=1, bias=False) for a, b in itertools.pairwise(widths))
        self.linear = nn.Linear(size, size)
        self.norm = nn.BatchNorm1d(size)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = functional.leaky_relu(conv(x), self.slope)
        return self.norm(functional.leaky_relu(self.linear(x.mean(-1)), self.slope))
