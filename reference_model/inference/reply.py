"""A reply in progress: generated token by token, cut into segments, synthesized packet by packet."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from fobench.api.components import Detokenizer
from fobench.api.thoughts import ThoughtFilter
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
    """One reply. `heard` and `samples` count the audio that was played and that was generated.

    Thoughts of a reasoning model are tokens of the LLM's context, but no part of the segments: the speech decoder gets
    neither their text nor their hidden states.
    """

    number: int
    seed: int  # of the conversation
    generator: (
        torch.Generator
    )  # of its text; each segment's speech has its own, so that neither depends on the other's pace
    detokenizer: Detokenizer
    segmenter: Segmenter
    rate_hz: int  # of its audio
    opening: str = ""  # the tag of a thought that the prompt has opened
    tokens: list[int] = field(default_factory=list)
    hidden: list[torch.Tensor] = field(
        default_factory=list
    )  # [D] per token outside thoughts: the hidden state that predicted it
    said: list[int] = field(default_factory=list)  # the number of each of those among all tokens
    thoughts: ThoughtFilter = field(default_factory=ThoughtFilter)
    _unsure: deque[tuple[int, torch.Tensor]] = field(default_factory=deque)  # tokens that may be part of a tag
    _newest: torch.Tensor | None = None  # [D]: the hidden state that predicted the last token
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
    def complete(self) -> bool:
        """Whether all of its text and audio is generated."""
        return self.generated and self.speech is None and not self.waiting

    @property
    def over(self) -> bool:
        """Whether it has been played to its end."""
        return self.ended and self.heard >= self.samples

    @property
    def ahead_s(self) -> float:
        """Seconds of audio that are generated and not yet played."""
        return (self.samples - self.heard) / self.rate_hz

    def push(self, token: int, hidden: torch.Tensor) -> str:
        """Append a token and the hidden state [D] that predicted it; returns the text that it completes, thoughts included."""
        text = ("" if self.tokens else self.opening) + self.detokenizer.push(token)
        self.tokens.append(token)
        self._newest, in_thought = hidden, bool(self.thoughts.kind)
        said = self.thoughts.push(text)
        if in_thought or self.thoughts.kind:
            self._unsure.clear()
        if said or not (in_thought or self.thoughts.kind):
            self._unsure.append((len(self.tokens) - 1, hidden))
        if said or not self.thoughts.holding:
            self._say(said)
        return text

    def _say(self, text: str) -> None:
        """Hand the tokens that are no part of a thought to the segmenter; `text` belongs to the last of them."""
        while self._unsure:
            number, hidden = self._unsure.popleft()
            self.said.append(number)
            self.hidden.append(hidden)
            self.waiting.extend(self.segmenter.push("" if self._unsure else text))

    def finish(self) -> str:
        """Complete the text; returns what the detokenizer has held back of it."""
        self.generated = True
        text = self.detokenizer.flush()
        said, in_thought = self.thoughts.push(text), bool(self.thoughts.kind)
        said += self.thoughts.flush()
        if said and in_thought and self._newest is not None:  # of a thought that had no matching end
            self._unsure.append((len(self.tokens) - 1, self._newest))
        held = bool(self._unsure)
        self._say(said)
        self.waiting.extend(self.segmenter.finish("" if held else said))
        return text

    def heard_tokens(self) -> int:
        """The number of tokens up to the last one that was heard, thoughts before it included."""
        heard = self._heard_of_said()  # text that was held back to the end has no token of its own
        return self.said[min(heard, len(self.said)) - 1] + 1 if heard and self.said else heard

    def _heard_of_said(self) -> int:
        """The number of tokens in segments that were heard: of complete segments, and of the one in playback a proportional part."""
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
