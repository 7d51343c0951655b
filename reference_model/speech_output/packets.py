"""One segment of a reply, spoken: text and hidden states -> codec tokens -> audio, a packet at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from reference_model.speech_output.sampling import Sampling
from reference_model.speech_output.speech_decoder import DecoderState

DecoderCall = tuple[DecoderState, Sampling, torch.Generator]


class Vocoder(Protocol):
    """The decoding half of a codec, streaming."""

    def decode_step(self, codes: torch.Tensor, state: Any = None, last: bool = False) -> tuple[torch.Tensor, Any]:
        """Codes [1, K, F] -> (audio [1, T], state)."""


class SilenceCutter(Protocol):
    """Holds audio back until a quiet place, so that packets join where nothing is heard."""

    def push(self, piece: torch.Tensor, last: bool = False) -> torch.Tensor: ...


@dataclass(frozen=True, slots=True)
class PacketSizes:
    """How many codec frames make a packet of audio. Published: 20 for the first of a reply, 40 afterwards."""

    first: int = 20
    later: int = 40


class SegmentSynthesizer:
    """A segment on its way to sound. Each `packet` is one unit of work; `done` once the segment has been said."""

    def __init__(
        self,
        state: DecoderState,
        step: Callable[[DecoderCall], torch.Tensor | None],
        vocoder: Vocoder,
        sampling: Sampling,
        generator: torch.Generator,
        cutter: SilenceCutter | None = None,
    ) -> None:
        """`step` is the speech decoder's, with what it takes as one tuple; `state` is that of the segment's prefill."""
        self._saying, self._step = (state, sampling, generator), step
        self._vocoder, self._cutter = vocoder, cutter
        self._vocoding: Any = None
        self.frames = 0
        self.done = False

    def packet(self, frames: int) -> torch.Tensor:
        """The next audio [T], of about `frames` codec frames.

        The first packet takes in as many more as the codec wants to see ahead, so that it has its sound at once.
        """
        wanted = frames if self.frames else frames + self._vocoder.lookahead
        codes: list[torch.Tensor] = []
        while len(codes) < wanted and not self.done:
            drawn = self._step(self._saying)
            if drawn is None:
                self.done = True
            else:
                codes.append(drawn)
        self.frames += len(codes)
        audio = self._vocode(codes)
        return self._cutter.push(audio, self.done) if self._cutter else audio

    def _vocode(self, codes: list[torch.Tensor]) -> torch.Tensor:
        if not self.frames:  # a segment without a sound
            return torch.zeros(0)
        stacked = torch.stack(codes, -1) if codes else torch.zeros(len(self._saying[0].last), 0, dtype=torch.long)
        stacked = stacked[None].to(self._vocoder.device)  # [1, K, F]
        audio, self._vocoding = self._vocoder.decode_step(stacked, self._vocoding, last=self.done)
        return audio[0]
