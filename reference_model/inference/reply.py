"""A reply on its way: thought token by token, cut into segments, spoken packet by packet."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from fobench.api.components import Detokenizer
from reference_model.speech_output.segmenter import Segment, Segmenter

if TYPE_CHECKING:
    from reference_model.speech_output.packets import SegmentSynthesizer

TOKENS_PER_S = 4.0  # of speech; only for a segment whose end is not yet spoken, so that its length is unknown


@dataclass(slots=True)
class SpokenSegment:
    """A segment and the audio made of it so far."""

    segment: Segment
    samples: int = 0
    whole: bool = False  # nothing more will be made of it


@dataclass(slots=True)
class GeneratedReply:
    """Everything known of one reply. `heard` and `samples` count the listener's and the generated audio."""

    number: int
    seed: int  # of the conversation
    generator: (
        torch.Generator
    )  # of its text; each segment's speech has its own, so that neither depends on the other's pace
    pieces: Detokenizer
    segmenter: Segmenter
    rate_hz: int  # of its audio
    tokens: list[int] = field(default_factory=list)
    hidden: list[torch.Tensor] = field(default_factory=list)  # [D] a token: the hidden state that predicted it
    waiting: deque[Segment] = field(default_factory=deque)
    said: list[SpokenSegment] = field(default_factory=list)
    speech: SegmentSynthesizer | None = None  # of the last segment in `said`
    thought: bool = False  # the text is complete
    ended: bool = False  # ... and spoken
    heard: int = 0

    @property
    def samples(self) -> int:
        return sum(said.samples for said in self.said)

    @property
    def over(self) -> bool:
        """Whether it has been heard to its end."""
        return self.ended and self.heard >= self.samples

    @property
    def ahead_s(self) -> float:
        """Seconds of audio that are made and not yet heard."""
        return (self.samples - self.heard) / self.rate_hz

    def add(self, token: int, hidden: torch.Tensor) -> str:
        """A token and the hidden state [D] that predicted it; returns the text that it completes."""
        self.tokens.append(token)
        self.hidden.append(hidden)
        piece = self.pieces.add(token)
        self.waiting.extend(self.segmenter.push(piece))
        return piece

    def finish(self) -> str:
        """The text is complete; returns what of it was held back."""
        self.thought = True
        piece = self.pieces.rest()
        self.waiting.extend(self.segmenter.finish(piece))
        return piece

    def heard_tokens(self) -> int:
        """How many of its tokens the listener has heard: whole segments, and of the one being heard its share."""
        left, tokens = self.heard, 0
        for said in self.said:
            count = len(said.segment.tokens)
            if said.whole and left >= said.samples:
                tokens += count
            elif said.whole and said.samples:
                return tokens + count * left // said.samples
            else:
                return tokens + min(count, int(left / self.rate_hz * TOKENS_PER_S))
            left -= said.samples
        return tokens
