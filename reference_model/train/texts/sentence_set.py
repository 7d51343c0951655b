"""The sentences that training speech is rendered from: different, speakable, without the benchmark's own questions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from fobench.api import registry
from fobench.errors import FobenchError
from fobench.scoring.text_normalization import normalise
from reference_model.train.texts import books as prose
from reference_model.train.texts import question_sets, templates
from reference_model.train.texts.question_sets import FoundSentence
from reference_model.train.texts.sentence_casing import is_speakable, spelt

Split = Literal["train", "valid"]
WORDS = range(2, 21)  # in a sentence
SHORT = ("backchannel", "interruption")  # kinds that may be one word
VALID_IN = 25  # one text in so many is kept aside for validation
MADE = 16000  # sentences made from templates
WRITTEN = "llm"  # source of the sentences that the LLM wrote


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence. `id`: 12 hex digits of its normal form, the same in every run; `kind`: question, command, talk, ..."""

    id: str
    text: str
    kind: str
    source: str
    split: Split


def collect(
    folder: Path, *, seed: int = 0, made: int = MADE, file: Path | None = None, books: Path | None = None
) -> list[Sentence]:
    """All texts of the question sets in `folder`, `made` made ones, those written in `file` and those of `books`, in a fixed order.

    Raises FobenchError where there is no set, no such file, or no book.
    """
    names = [name for name in map(spelt, question_sets.entities(folder)) if is_speakable(name)]
    found = [*question_sets.read(folder, seed), *templates.make(made, names, seed)]
    return distinct([*found, *(written(file) if file else ()), *(prose.read(books) if books else ())])


def written(file: Path) -> list[FoundSentence]:
    """The sentences of a file that `llm_sentences` has made. FobenchError if it cannot be read."""
    try:
        records = map(json.loads, file.read_text(encoding="utf-8").splitlines())
        found = [FoundSentence(record["text"], record["kind"], WRITTEN) for record in records]
        if odd := [one for one in found if not (isinstance(one.text, str) and isinstance(one.kind, str))]:
            raise ValueError(f"text and kind must be strings: {odd[0]}")
        return found
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FobenchError(
            f"{file} holds no written sentences ({error}). Make it: python -m reference_model.train.texts.llm_sentences --out {file}"
        ) from error


def distinct(found: Iterable[FoundSentence]) -> list[Sentence]:
    """The speakable ones of fitting length, the first of each normal form, none that the benchmark asks."""
    texts: dict[str, Sentence] = {}
    for one in found:
        normal = one.text.lower() if one.kind in SHORT else normalise(one.text)  # the normaliser drops "mm-hmm"
        if fits(one) and normal and normal not in benchmark():
            name = text_id(normal)
            texts.setdefault(name, Sentence(name, one.text, one.kind, one.source, split_of(name)))
    return list(texts.values())


def fits(found: FoundSentence) -> bool:
    """Whether a sentence can be spoken, and is of 2 to 20 words unless of a short kind."""
    says = is_speakable(found.text) and any(map(str.isalpha, found.text))
    return says and (found.kind in SHORT or len(found.text.split()) in WORDS)


def text_id(normal: str) -> str:
    """The id of a text, from its normal form."""
    return hashlib.sha256(normal.encode()).hexdigest()[:12]


def split_of(name: str) -> Split:
    """The split of a text, from its id alone: it never changes sides, whatever else there is."""
    return "valid" if int(name, 16) % VALID_IN == 0 else "train"


@cache
def benchmark() -> frozenset[str]:
    """The normal forms of the questions that `spoken-qa` asks."""
    asked = [question.text for question in registry.create("suites", "spoken-qa").questions]
    return frozenset(normalise(form) for text in asked for form in (text, spelt(text)))
