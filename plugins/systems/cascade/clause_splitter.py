"""Splits a streamed reply into clauses for synthesis, and maps playback positions to words."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from reference_model.speech_output.text_normalizer import normalize
from reference_model.speech_output.written_signs import is_open, spell_out

SENTENCE_END = re.compile(r"[.!?][\"')\]]*\s|\n")
CLAUSE_END = re.compile(r"[.!?,;:][\"')\]]*\s|\n")
CONJUNCTIONS = "and|but|or|because|which|who|whose|that|where|when|while|if|including|until|since|although|though"
PREPOSITIONS = "in|of|by|for|with|to|from|at|on|into|between|during|through|after|before|under|over|as"
PHRASE_ENDS = (  # where an early clause may end without a mark, and after how many words at least
    (re.compile(rf"\s(?=(?:{CONJUNCTIONS})\s)"), 5),
    (re.compile(rf"\s(?=(?:{PREPOSITIONS})\s)"), 8),
)
FIRST_WORDS = 3  # minimum words of the first clause, which decides the response latency
WORD_S = 0.3  # of speech in a word, about
LATER_WORDS = 10  # words beyond which later sentences are split at clauses
SOFT_BREAK = re.compile(r"(?<=\S)[ \t]*\n[ \t]*(?=[a-z])")  # the line goes on


@dataclass(slots=True)
class ClauseSplitter:
    """Splits text into clauses as it is generated."""

    _text: str = ""
    _cut: bool = False

    def push(self, text: str, *, hurry: bool = False) -> str | None:
        """Append text; returns a complete clause or None. `hurry`: the player has little left, so that a short clause will do."""
        self._text += text
        early = hurry or not self._cut
        inside = early or self._words(self._text) > LATER_WORDS
        ends = [
            (found.end(), FIRST_WORDS if early else 1)
            for found in (CLAUSE_END if inside else SENTENCE_END).finditer(self._text)
        ]
        if early:
            ends += [(found.end(), words) for end, words in PHRASE_ENDS for found in end.finditer(self._text)]
        for end, words in sorted(ends):
            if self._words(self._text[:end]) >= words and not is_open(self._text[:end]):
                return self._take(end)
        return None

    def flush(self, last: str = "") -> str | None:
        """The rest of the text and the `last` piece, at the end of the reply, or None."""
        self._text += last
        return self._take(len(self._text)) if self._text.strip() else None

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
    """The clauses of one reply, each with its number of samples; the last may still be in synthesis."""

    clauses: list[tuple[str, int]] = field(default_factory=list)
    _expected: int = 0  # samples of the clause in synthesis, by its number of words; 0 if there is none

    def begin(self, clause: str, rate_hz: int) -> None:
        """A clause of which no audio has been generated."""
        self.clauses.append((clause, 0))
        self._expected = round(len(clause.split()) * WORD_S * rate_hz)

    def add(self, samples: int) -> None:
        """More audio of the clause in synthesis."""
        clause, before = self.clauses[-1]
        self.clauses[-1] = clause, before + samples

    def complete(self) -> None:
        """The clause in synthesis has all its audio."""
        self._expected = 0

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
        for number, (clause, count) in enumerate(self.clauses, 1):
            length = max(count, self._expected) if number == len(self.clauses) else count
            if samples >= length:
                heard += clause
            elif samples > 0:
                words = clause.split()
                kept = len(words) * samples // length
                heard += " ".join(words[:kept])
                rest += " ".join(words[kept:]) + " "
            else:
                rest += clause
            samples -= count
        return heard, rest
