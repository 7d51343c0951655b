"""The set of sentences for rendering training speech: distinct, speakable, without the benchmark's questions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from fobench.api import registry
from fobench.errors import FobenchError
from fobench.outside_files import read_json_lines
from fobench.scoring.text_normalization import normalize_as_whisper
from reference_model.train.texts import books as book_sentences
from reference_model.train.texts import question_sets, templates
from reference_model.train.texts.question_sets import FoundSentence
from reference_model.train.texts.sentence_casing import is_speakable, verbalize

Split = Literal["train", "valid"]
WORDS = range(2, 21)  # words per sentence
SHORT = ("backchannel", "interruption")  # kinds that may be one word
VALID_DIVISOR = 25  # one text of so many is held out for validation
TEMPLATE_SENTENCES = 16000  # default number of sentences from templates
WRITTEN = "llm"  # source of the sentences that the LLM wrote


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence. `id`: 12 hex digits of the hash of its normal form; `kind`: question, command, talk, ..."""

    id: str
    text: str
    kind: str
    source: str
    split: Split


def collect(
    folder: Path,
    *,
    seed: int = 0,
    template_sentences: int = TEMPLATE_SENTENCES,
    file: Path | None = None,
    books: Path | None = None,
) -> list[Sentence]:
    """Collects the sentences of the question sets in `folder`, of templates, of `file` (LLM-written) and of `books`, in a fixed order.

    Raises FobenchError where there is no set, no such file, or no book.
    """
    names = [name for name in map(verbalize, question_sets.entities(folder)) if is_speakable(name)]
    found = [*question_sets.read(folder, seed), *templates.fill_templates(template_sentences, names, seed)]
    return distinct(
        [*found, *(read_llm_sentences(file) if file else ()), *(book_sentences.read(books) if books else ())]
    )


def read_llm_sentences(file: Path) -> list[FoundSentence]:
    """Reads the sentences of a file of `llm_sentences`. FobenchError if it cannot be read."""
    try:
        found = [FoundSentence(record["text"], record["kind"], WRITTEN) for _, record in read_json_lines(file)]
        if invalid := [one for one in found if not (isinstance(one.text, str) and isinstance(one.kind, str))]:
            raise ValueError(f"text and kind must be strings: {invalid[0]}")
        return found
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FobenchError(
            f"{file} is not a file of LLM-written sentences ({error}). Make one: python -m reference_model.train.texts.llm_sentences --out {file}"
        ) from error


def distinct(found: Iterable[FoundSentence]) -> list[Sentence]:
    """Returns the speakable sentences of allowed length, the first of each normal form, without the benchmark's
    questions."""
    texts: dict[str, Sentence] = {}
    for one in found:
        is_short = one.kind in SHORT  # the normalizer drops "mm-hmm"
        normal = one.text.lower() if is_short else normalize_as_whisper(one.text)
        if fits(one) and normal and normal not in benchmark():
            name = text_id(normal)
            texts.setdefault(name, Sentence(name, one.text, one.kind, one.source, split_of(name)))
    return list(texts.values())


def fits(found: FoundSentence) -> bool:
    """Returns whether a sentence is speakable and, unless of a short kind, has 2 to 20 words."""
    speakable = is_speakable(found.text) and any(map(str.isalpha, found.text))
    return speakable and (found.kind in SHORT or len(found.text.split()) in WORDS)


def text_id(normal: str) -> str:
    """Returns the id of a text, from its normal form."""
    return hashlib.sha256(normal.encode()).hexdigest()[:12]


def split_of(name: str) -> Split:
    """Returns the split of a text, which depends on its id alone."""
    return "valid" if int(name, 16) % VALID_DIVISOR == 0 else "train"


@cache
def benchmark() -> frozenset[str]:
    """Returns the normal forms of the questions of the spoken-qa suite."""
    questions = [question.text for question in registry.create("suites", "spoken-qa").questions]
    return frozenset(normalize_as_whisper(form) for text in questions for form in (text, verbalize(text)))
