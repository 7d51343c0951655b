"""Segmentation of a reply: its text is cut into segments for synthesis while it is being generated."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from fobench.api.components import Detokenizer
from reference_model.speech_output.text_normalizer import (
    normalize as normalize,  # of our own models; the published rules are below
)
from reference_model.speech_output.written_signs import is_open

SENTENCE_ENDS = "。：？！.?!\n"
CLAUSE_ENDS = SENTENCE_ENDS + ",，:;、"
PHRASE = re.compile(  # words that a speaker may pause before
    r"\s*(and|or|but|nor|so|because|although|while|when|where|which|who|whom|whose|that|than|as|if|in|on|at|by|for|from|into|of|off|"
    r"onto|over|to|under|with|without|about|after|before|between|during|through|is|are|was|were|has|have|had|can|will|would)",
    re.IGNORECASE,
)
ARTICLE = re.compile(r"\s*(a|an|the|this|my|your|his|her|its|our|their)", re.IGNORECASE)  # words that need the next one
CHINESE = re.compile(r"[\u4e00-\u9fa5]")


@dataclass(frozen=True, slots=True)
class Segmentation:
    """Where a segment may end. Counts are of LLM tokens; the defaults are the published server's rules."""

    least: int = 4  # minimum tokens of a segment, the last excepted
    comma_after: int = 20  # waiting tokens from which later segments may end at a comma; the first always may
    most: int = 500  # maximum tokens of a segment
    first_after: int | None = None  # tokens after which the first segment may end between words; None: never
    later_after: int | None = None  # the same for later segments
    growth: float | None = (
        None  # a later segment ends between words at so many times the tokens of the one before; None: never
    )


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a reply: its text, and its range among the reply's tokens."""

    text: str
    tokens: range


@dataclass(slots=True)
class Segmenter:
    """Cuts a reply, pushed token by token, into segments. The segments joined are the reply."""

    rules: Segmentation = field(default_factory=Segmentation)
    _pieces: list[str] = field(default_factory=list)  # text of the waiting tokens
    _given: int = 0  # tokens in earlier segments
    _last: int = 0  # tokens of the last segment; 0: there was none

    def push(self, piece: str) -> list[Segment]:
        """Append the text of one token, which may be empty; returns the segments that it completes, at most one."""
        self._pieces.append(piece)
        count = self._cut()
        return [] if count is None else [self._take(count)]

    def finish(self, rest: str = "") -> list[Segment]:
        """End the reply with `rest`, the text that the detokenizer held back; returns the last segment, if it has text."""
        if rest:
            self._pieces = [*self._pieces[:-1], self._pieces[-1] + rest] if self._pieces else [rest]
        return [self._take(len(self._pieces))] if "".join(self._pieces).strip() else []

    def _cut(self) -> int | None:
        """The number of waiting tokens that make a segment now, or None. The newest only shows whether the text before it has ended."""
        waiting = len(self._pieces)
        if waiting >= self.rules.most:
            return waiting
        before, newest = "".join(self._pieces[:-1]), self._pieces[-1]
        if waiting <= self.rules.least or not before.strip() or not newest:
            return None
        if self._ends(before, newest) or self._enough(newest):
            return waiting - 1
        late = self.rules.growth is not None and self._last and waiting > self.rules.growth * self._last
        return self._best_place() if late else None

    def _best_place(self) -> int | None:
        """Where to cut the waiting tokens if the sentence may not be awaited: after a clause, before a phrase, between words.

        The latest place of the best kind; a phrase must begin in the second half. None: there is no place yet.
        """
        starts = [
            i
            for i in range(self.rules.least, len(self._pieces))
            if _starts_word(self._pieces[i]) and self._pieces[i - 1]
        ]
        clauses = [i for i in starts if self._pieces[i - 1].rstrip().endswith(tuple(CLAUSE_ENDS))]
        opens = [PHRASE.fullmatch(piece) is not None for piece in self._pieces]
        free = [i for i in starts if not opens[i - 1] and not ARTICLE.fullmatch(self._pieces[i - 1])]
        phrases = [i for i in free if 2 * i > len(self._pieces) and opens[i]]
        return max(clauses or phrases or free or starts, default=None)

    def _ends(self, before: str, newest: str) -> bool:
        """Whether a sentence (or, where that suffices, a clause) ends between `before` and `newest`."""
        text = before.rstrip(" \"')]")
        commas = not self._last or len(self._pieces) > self.rules.comma_after
        if not text or text[-1] not in (CLAUSE_ENDS if commas else SENTENCE_ENDS):
            return False
        spaced = newest[0].isspace() or before[-1].isspace() or text[-1] in "。：？！，、\n"
        return (
            spaced and not re.search(r"(^|\s)\d+\.$", text) and not is_open(text)
        )  # not after the number of a list item

    def _enough(self, newest: str) -> bool:
        """Whether enough tokens wait for a cut without punctuation, before a new word."""
        enough = self.rules.later_after if self._last else self.rules.first_after
        return enough is not None and len(self._pieces) > enough and _starts_word(newest)

    def _take(self, count: int) -> Segment:
        segment = Segment("".join(self._pieces[:count]), range(self._given, self._given + count))
        self._pieces, self._given, self._last = self._pieces[count:], self._given + count, count
        return segment


def _starts_word(piece: str) -> bool:
    """Whether a token's text begins a new word."""
    return bool(piece) and (piece[0].isspace() or CHINESE.match(piece) is not None)


def token_texts(detokenizer: Detokenizer, ids: Sequence[int]) -> list[str]:
    """The text of each token; text that needs several tokens belongs to the last of them."""
    texts = [detokenizer.push(i) for i in ids]
    return [*texts[:-1], texts[-1] + detokenizer.flush()] if texts else []


# ---- the published rules ---------------------------------------------------------------------------------------------


def published_normalize(text: str) -> str:
    """The published server's normalization, which its weights expect. For example, 3.14 becomes 3:14 in English text.

    The signs of a sum and of a code name, which it would lose, become words first.
    """
    text = re.sub(r"(?<=[\d)])\s*\*\s*(?=[\d(])", " times ", text)
    text = re.sub(r"(?<=[A-Za-z0-9])_(?=[A-Za-z0-9])", " underscore ", text)
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
