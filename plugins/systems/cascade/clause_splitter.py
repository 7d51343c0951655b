"""Splits a streamed reply into clauses for synthesis, and maps playback positions to words."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from reference_model.speech_output.text_normalizer import normalize
from reference_model.speech_output.written_signs import is_open, spell_out

SENTENCE_END = re.compile(r"[.!?][\"')\]]*\s|\n")
CLAUSE_END = re.compile(r"[.!?,;:][\"')\]]*\s|\n")
FIRST_WORDS = 3  # minimum words of the first clause, which decides the response latency
LATER_WORDS = 10  # words beyond which later sentences are split at clauses
SOFT_BREAK = re.compile(r"(?<=\S)[ \t]*\n[ \t]*(?=[a-z])")  # the line goes on


@dataclass(slots=True)
class ClauseSplitter:
    """Splits text into clauses as it is generated."""

    _text: str = ""
    _cut: bool = False

    def push(self, text: str) -> str | None:
        """Append text; returns a complete clause or None."""
        self._text += text
        for found in (CLAUSE_END if self._may_cut_inside() else SENTENCE_END).finditer(self._text):
            before = self._text[: found.end()]
            if self._words(before) >= (1 if self._cut else FIRST_WORDS) and not is_open(before):
                return self._take(found.end())
        return None

    def flush(self, last: str = "") -> str | None:
        """The rest of the text and the `last` piece, at the end of the reply, or None."""
        self._text += last
        return self._take(len(self._text)) if self._text.strip() else None

    def _may_cut_inside(self) -> bool:
        return not self._cut or self._words(self._text) > LATER_WORDS

    def _take(self, end: int) -> str:
        clause, self._text, self._cut = self._text[:end], self._text[end:], True
        return clause

    @staticmethod
    def _words(text: str) -> int:
        return len(text.split())


def speakable(clause: str) -> str:
    """The clause in the words in which it is read aloud, as replies of Freeze-Omni are; letters keep their accents."""
    return normalize(SOFT_BREAK.sub(" ", spell_out(clause)), fold=False)


@dataclass(slots=True)
class SpokenClauses:
    """The clauses of one reply, each with its number of samples."""

    clauses: list[tuple[str, int]] = field(default_factory=list)

    def add(self, clause: str, samples: int) -> None:
        self.clauses.append((clause, samples))

    @property
    def samples(self) -> int:
        return sum(count for _, count in self.clauses)

    def heard(self, samples: int) -> str:
        """The text of the first `samples` of audio; of a clause in playback, a proportional number of words."""
        return self._split(samples)[0].strip()

    def unheard(self, samples: int) -> str:
        """The rest of the text."""
        return self._split(samples)[1]

    def _split(self, samples: int) -> tuple[str, str]:
        heard, rest = "", ""
        for clause, count in self.clauses:
            if samples >= count:
                heard += clause
            elif samples > 0:
                words = clause.split()
                kept = len(words) * samples // count
                heard += " ".join(words[:kept])
                rest += " ".join(words[kept:]) + " "
            else:
                rest += clause
            samples -= count
        return heard, rest
