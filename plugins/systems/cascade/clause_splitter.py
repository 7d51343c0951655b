"""Cuts a streamed reply into clauses to be voiced, and tells which of its words a listener has heard."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

SENTENCE_END = re.compile(r"[.!?][\"')\]]*\s|\n")
CLAUSE_END = re.compile(r"[.!?,;:][\"')\]]*\s|\n")
FIRST_WORDS = 3  # the first clause may be this short: it decides when the user hears something
LATER_WORDS = 10  # later sentences are cut inside only beyond this many words
UNSPOKEN = re.compile(r"[*_`#~|]+")


@dataclass(slots=True)
class ClauseSplitter:
    """Takes text as it is generated, gives the next clause as soon as it is whole."""

    _text: str = ""
    _cut: bool = False

    def push(self, text: str) -> str | None:
        """Adds text; returns a finished clause or None."""
        self._text += text
        for found in (CLAUSE_END if self._may_cut_inside() else SENTENCE_END).finditer(self._text):
            if self._words(self._text[: found.end()]) >= (1 if self._cut else FIRST_WORDS):
                return self._take(found.end())
        return None

    def rest(self) -> str | None:
        """What is left when the reply has ended, or None."""
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
    """The clause without marks that are not read aloud."""
    return " ".join(UNSPOKEN.sub("", clause).split())


@dataclass(slots=True)
class SpokenClauses:
    """The clauses of one reply with the samples each took."""

    clauses: list[tuple[str, int]] = field(default_factory=list)

    def add(self, clause: str, samples: int) -> None:
        self.clauses.append((clause, samples))

    @property
    def samples(self) -> int:
        return sum(count for _, count in self.clauses)

    def heard(self, samples: int) -> str:
        """The text of the first `samples` of audio: whole clauses, and of the last one as many words as its share."""
        return self._parted(samples)[0].strip()

    def unheard(self, samples: int) -> str:
        """The rest of the text, from the first word that was not heard whole."""
        return self._parted(samples)[1]

    def _parted(self, samples: int) -> tuple[str, str]:
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
