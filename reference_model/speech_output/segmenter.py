"""A reply's text on its way to speech: cut into segments while it is still being generated, and made fit to be read aloud."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fobench.api.components import Detokenizer
from reference_model.speech_output.text_normalizer import (
    normalise as normalise,  # what our own models say; the published rules are below
)

SENTENCE_ENDS = "。：？！.?!\n"
CLAUSE_ENDS = SENTENCE_ENDS + ",，:;、"
CHINESE = re.compile(r"[\u4e00-\u9fa5]")


@dataclass(frozen=True, slots=True)
class Segmentation:
    """When a part of the reply may be spoken. Counts are the LLM's tokens; the defaults are the published server's rules."""

    least: int = 4  # tokens of a segment that is cut
    comma_after: int = 20  # later segments may end at a comma once so many tokens wait; the first always may
    most: int = 500  # a segment ends here, wherever it is
    first_after: int | None = None  # the first segment may end between words after so many tokens, without any comma
    later_after: int | None = None  # ... and the later ones


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the reply: its text, and which of the reply's tokens it is."""

    text: str
    tokens: range


@dataclass(slots=True)
class Segmenter:
    """Takes a reply token by token, gives each segment as soon as it is whole. The segments joined are the reply."""

    rules: Segmentation = field(default_factory=Segmentation)
    _pieces: list[str] = field(default_factory=list)  # text of the waiting tokens
    _given: int = 0  # tokens in earlier segments
    _any: bool = False  # whether there were any

    def push(self, piece: str) -> list[Segment]:
        """The text that one more token completes (may be empty); the segments that it ends, at most one."""
        self._pieces.append(piece)
        count = self._cut()
        return [] if count is None else [self._take(count)]

    def finish(self, rest: str = "") -> list[Segment]:
        """The reply is complete, with some text held back: the last segment, if there is text."""
        if rest:
            self._pieces = [*self._pieces[:-1], self._pieces[-1] + rest] if self._pieces else [rest]
        return [self._take(len(self._pieces))] if "".join(self._pieces).strip() else []

    def _cut(self) -> int | None:
        """How many of the waiting tokens make a segment now. The newest only shows whether the text before it has ended."""
        waiting = len(self._pieces)
        if waiting >= self.rules.most:
            return waiting
        before, newest = "".join(self._pieces[:-1]), self._pieces[-1]
        if waiting <= self.rules.least or not before.strip() or not newest:
            return None
        return waiting - 1 if self._ends(before, newest) or self._enough(newest) else None

    def _ends(self, before: str, newest: str) -> bool:
        """Whether a sentence, or where that is enough a clause, ends between `before` and `newest`."""
        text = before.rstrip(" \"')]")
        commas = not self._any or len(self._pieces) > self.rules.comma_after
        if not text or text[-1] not in (CLAUSE_ENDS if commas else SENTENCE_ENDS):
            return False
        spaced = newest[0].isspace() or before[-1].isspace() or text[-1] in "。：？！，、\n"
        return spaced and not re.search(r"(^|\s)\d+\.$", text)  # not after the number of a list's item

    def _enough(self, newest: str) -> bool:
        """Whether enough tokens wait to go on without any comma: only before a new word."""
        enough = self.rules.later_after if self._any else self.rules.first_after
        between = newest[0].isspace() or CHINESE.match(newest) is not None
        return enough is not None and len(self._pieces) > enough and between

    def _take(self, count: int) -> Segment:
        segment = Segment("".join(self._pieces[:count]), range(self._given, self._given + count))
        self._pieces, self._given, self._any = self._pieces[count:], self._given + count, True
        return segment


def segments(pieces: Iterator[str], rules: Segmentation) -> Iterator[Segment]:
    """All segments of a reply, from the text of its tokens."""
    segmenter = Segmenter(rules)
    for piece in pieces:
        yield from segmenter.push(piece)
    yield from segmenter.finish()


def pieces_of(reader: Detokenizer, ids: Sequence[int]) -> list[str]:
    """Each token's text, by a backbone's `pieces()`; what the last ones only together write belongs to the last."""
    texts = [reader.add(i) for i in ids]
    return [*texts[:-1], texts[-1] + reader.rest()] if texts else []


# ---- the published rules ---------------------------------------------------------------------------------------------


def published_normalise(text: str) -> str:
    """What the published server makes of a segment; its weights expect it. Among others 3.14 becomes 3:14 in English text."""
    text = text.replace("、", "，").replace("(", ",").replace(")", ",").replace("（", "，").replace("）", "，")
    text = re.sub(r"[\n\r\t*_`~]", "", text)
    text = re.sub(r"([.:])\s+", r"\1", text)
    if CHINESE.search(text):
        text = re.sub(r"(\d+)\.\s*([\u4e00-\u9fa5A-Za-z])", r"\1：\2", text)
    else:
        text = re.sub(r"(\d+)\.\s*(\w)", r"\1:\2", text)
    if not text or text[-1] in "。？！.?!":
        return text
    return (text[:-1] if text[-1] in ",，;；:：、" else text) + "。"
