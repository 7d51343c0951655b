"""Synthesis of one segment of a reply: codec tokens -> packets of audio."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from reference_model.speech_output.sampling import Sampling
from reference_model.speech_output.speech_decoder import DecoderState

DecoderCall = tuple[DecoderState, Sampling, torch.Generator]


class Vocoder(Protocol):
    """The streaming decoder of a codec."""

    @property
    def device(self) -> torch.device: ...

    @property
    def lookahead(self) -> int:
        """Frames that `decode_step` holds back until the next ones are known."""

    def decode_step(self, codes: torch.Tensor, state: Any = None, last: bool = False) -> tuple[torch.Tensor, Any]:
        """Codes [1, K, F] and the state of the stream -> (audio [1, T], next state)."""


class SilenceCutter(Protocol):
    """A stream that holds audio back until a silence, so that packets join where nothing is audible."""

    def push(self, audio: torch.Tensor, last: bool = False) -> torch.Tensor: ...


@dataclass(frozen=True, slots=True)
class PacketSizes:
    """Codec frames per packet of audio: `first` of a reply's first packet, and each one is twice as long as the one before, up to
    `later`; further segments begin with twice the `first`.

    While a packet is played, there is time to make one of twice its length. Short ones are ready early, long ones cost less,
    since the codec's windows overlap. Published: 20 for the first packet of a reply, 40 afterwards.
    """

    first: int = 20
    later: int = 40

    def size(self, segment: int, packet: int) -> int:
        """Frames of a packet, by its number in its segment, and the segment's number in the reply, from 0."""
        return min(self.later, self.first << min(packet + (segment > 0), 16))


class SegmentSynthesizer:
    """The synthesizer of one segment. Each `draw` and each `packet` is one unit of work; `done`: all of its codes are drawn."""

    def __init__(
        self,
        state: DecoderState,
        step: Callable[[DecoderCall], torch.Tensor | None],
        vocoder: Vocoder,
        sampling: Sampling,
        generator: torch.Generator,
        cutter: SilenceCutter | None = None,
    ) -> None:
        """`state`: the speech decoder's after the prefill; `step`: its step, with one tuple as the argument."""
        self._call, self._step = (state, sampling, generator), step
        self._vocoder, self._cutter = vocoder, cutter
        self._vocoder_state: Any = None
        self._codes: list[torch.Tensor] = []  # [K] of each frame drawn for the next packet
        self.frames = self.packets = 0  # in packets so far, and their number
        self.done = False

    def draw(self, frames: int, most: int) -> bool:
        """Draw at most `most` of the codes that the next packet, of about `frames` frames, still needs; whether none is missing.

        The first packet needs as many further frames as the codec's lookahead, so that it has its full length.
        """
        wanted = frames if self.frames else frames + self._vocoder.lookahead
        for _ in range(min(most, wanted - len(self._codes))):
            if self.done or (codes := self._step(self._call)) is None:
                self.done = True
                break
            self._codes.append(codes)
        return self.done or len(self._codes) >= wanted

    def packet(self, frames: int) -> torch.Tensor:
        """The next audio [T], of about `frames` codec frames, of the codes drawn so far and those that are missing."""
        self.draw(frames, frames + self._vocoder.lookahead)
        codes, self._codes = self._codes, []
        self.frames, self.packets = self.frames + len(codes), self.packets + 1
        audio = self._vocode(codes)
        return self._cutter.push(audio, self.done) if self._cutter else audio

    def _vocode(self, codes: list[torch.Tensor]) -> torch.Tensor:
        if not self.frames:  # a segment without any code
            return torch.zeros(0)
        stacked = torch.stack(codes, -1) if codes else torch.zeros(len(self._call[0].last), 0, dtype=torch.long)
        stacked = stacked[None].to(self._vocoder.device)  # [1, K, F]
        audio, self._vocoder_state = self._vocoder.decode_step(stacked, self._vocoder_state, last=self.done)
        return audio[0]
