"""Sentences of books in plain text, for example novels in the public domain: the style of read speech."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fobench.errors import FobenchError
from fobench.outside_files import read_text
from reference_model.train.texts.question_sets import FoundSentence
from reference_model.train.texts.sentence_casing import sentence, verbalize

SOURCE, KIND = "book", "prose"
MAX_WORDS, MIN_WORDS = 18, 3  # words
TITLES = {r"\bMr\.": "Mister", r"\bMrs\.": "Missus", r"\bDr\.": "Doctor", r"\bSt\.": "Saint", "&c\\.": "et cetera"}
DROPPED = str.maketrans("", "", '_"“”();:[]*')


def read(folder: Path) -> list[FoundSentence]:
    """Reads the sentences of every .txt file in the folder, long ones split at commas.

    FobenchError where there is no such file.
    """
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise FobenchError(f"{folder} contains no plain-text books (.txt).")
    return [FoundSentence(text, KIND, SOURCE) for file in files for text in sentences(_read_text(file))]


def sentences(text: str) -> Iterator[str]:
    """Yields the sentences of a text, of 3 to about 18 words, verbalized.

    Headings and sentences with digits are skipped.
    """
    for paragraph in re.split(r"\n\s*\n", text):
        for sentence_text in re.split(r"(?<=[.?!;:])\s+", _normalized(paragraph)):
            for part in _split_sentence(sentence_text):
                cleaned = part.translate(DROPPED).strip(" ,-'")
                if (
                    len(re.findall(r"[a-z]+", cleaned, re.IGNORECASE)) >= MIN_WORDS
                    and not re.search(r"\d", cleaned)
                    and not cleaned.isupper()
                ):
                    yield verbalize(sentence(cleaned, {}))


def _read_text(file: Path) -> str:
    try:
        return read_text(file)
    except (OSError, ValueError) as error:
        raise FobenchError(f"{file} cannot be read as UTF-8 text ({error}). Convert or remove it.") from error


def _normalized(paragraph: str) -> str:
    """Returns a paragraph on one line, with dashes as commas and titles expanded."""
    line = re.sub(r"\s*(--|—)\s*", ", ", " ".join(paragraph.split()))
    for abbreviation, expansion in TITLES.items():
        line = re.sub(abbreviation, expansion, line)
    return re.sub(r"\s*,[\s,]*", ", ", line)


def _split_sentence(part: str) -> Iterator[str]:
    """Yields a sentence, or a long one in groups of clauses of at most 18 words."""
    clauses: list[str] = []
    for clause in re.split(r"(?<=,)\s+", part) if len(part.split()) > MAX_WORDS else [part]:
        if clauses and len(" ".join([*clauses, clause]).split()) > MAX_WORDS:
            yield " ".join(clauses)
            clauses = []
        clauses.append(clause)
    yield " ".join(clauses)
