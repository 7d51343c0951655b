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
    """Codec frames per packet of audio. Published: 20 for the first packet of a reply, 40 afterwards."""

    first: int = 20
    later: int = 40


class SegmentSynthesizer:
    """The synthesizer of one segment. Each `packet` is one unit of work; `done`: the segment is complete."""

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
        self.frames = 0
        self.done = False

    def packet(self, frames: int) -> torch.Tensor:
        """The next audio [T], of about `frames` codec frames.

        The first packet includes as many further frames as the codec's lookahead, so that it has its full length.
        """
        wanted = frames if self.frames else frames + self._vocoder.lookahead
        codes: list[torch.Tensor] = []
        while len(codes) < wanted and not self.done:
            codes_step = self._step(self._call)
            if codes_step is None:
                self.done = True
            else:
                codes.append(codes_step)
        self.frames += len(codes)
        audio = self._vocode(codes)
        return self._cutter.push(audio, self.done) if self._cutter else audio

    def _vocode(self, codes: list[torch.Tensor]) -> torch.Tensor:
        if not self.frames:  # a segment without any code
            return torch.zeros(0)
        stacked = torch.stack(codes, -1) if codes else torch.zeros(len(self._call[0].last), 0, dtype=torch.long)
        stacked = stacked[None].to(self._vocoder.device)  # [1, K, F]
        audio, self._vocoder_state = self._vocoder.decode_step(stacked, self._vocoder_state, last=self.done)
        return audio[0]
