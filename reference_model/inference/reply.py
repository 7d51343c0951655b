"""A reply in progress: generated token by token, cut into segments, synthesized packet by packet."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from fobench.api.components import Detokenizer
from reference_model.speech_output.segmenter import Segment, Segmenter

if TYPE_CHECKING:
    from reference_model.speech_output.packets import SegmentSynthesizer

TOKENS_PER_S = 4.0  # of speech; only for a segment that is not yet complete, so that its length is unknown


@dataclass(slots=True)
class SpokenSegment:
    """A segment and the number of audio samples generated for it so far."""

    segment: Segment
    samples: int = 0
    complete: bool = False  # whether its audio is complete


@dataclass(slots=True)
class GeneratedReply:
    """One reply. `heard` and `samples` count the audio that was played and that was generated."""

    number: int
    seed: int  # of the conversation
    generator: (
        torch.Generator
    )  # of its text; each segment's speech has its own, so that neither depends on the other's pace
    detokenizer: Detokenizer
    segmenter: Segmenter
    rate_hz: int  # of its audio
    tokens: list[int] = field(default_factory=list)
    hidden: list[torch.Tensor] = field(default_factory=list)  # [D] per token: the hidden state that predicted it
    waiting: deque[Segment] = field(default_factory=deque)
    spoken: list[SpokenSegment] = field(default_factory=list)
    speech: SegmentSynthesizer | None = None  # of the last segment in `spoken`
    generated: bool = False  # whether the text is complete
    ended: bool = False  # whether the audio is complete, too
    heard: int = 0

    @property
    def samples(self) -> int:
        return sum(spoken.samples for spoken in self.spoken)

    @property
    def over(self) -> bool:
        """Whether it has been played to its end."""
        return self.ended and self.heard >= self.samples

    @property
    def ahead_s(self) -> float:
        """Seconds of audio that are generated and not yet played."""
        return (self.samples - self.heard) / self.rate_hz

    def push(self, token: int, hidden: torch.Tensor) -> str:
        """Append a token and the hidden state [D] that predicted it; returns the text that it completes."""
        self.tokens.append(token)
        self.hidden.append(hidden)
        text = self.detokenizer.push(token)
        self.waiting.extend(self.segmenter.push(text))
        return text

    def finish(self) -> str:
        """Complete the text; returns what the detokenizer has held back of it."""
        self.generated = True
        text = self.detokenizer.flush()
        self.waiting.extend(self.segmenter.finish(text))
        return text

    def heard_tokens(self) -> int:
        """The number of tokens that were heard: of complete segments, and of the segment in playback a proportional part."""
        left, tokens = self.heard, 0
        for spoken in self.spoken:
            count = len(spoken.segment.tokens)
            if spoken.complete and left >= spoken.samples:
                tokens += count
            elif spoken.complete and spoken.samples:
                return tokens + count * left // spoken.samples
            else:
                return tokens + min(count, int(left / self.rate_hz * TOKENS_PER_S))
            left -= spoken.samples
        return tokens
