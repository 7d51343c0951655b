"""Sentences of books kept as plain text, e.g. novels that are in the public domain: what people who read aloud read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fobench.errors import FobenchError
from reference_model.train.texts.question_sets import FoundSentence
from reference_model.train.texts.sentence_casing import sentence, spelt

SOURCE, KIND = "book", "prose"
MOST, FEWEST = 18, 3  # words
TITLES = {r"\bMr\.": "Mister", r"\bMrs\.": "Missus", r"\bDr\.": "Doctor", r"\bSt\.": "Saint", "&c\\.": "et cetera"}
DROPPED = str.maketrans("", "", '_"“”();:[]*')


def read(folder: Path) -> list[FoundSentence]:
    """The sentences of every .txt in the folder, long ones cut at their marks. FobenchError where there is no such file."""
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise FobenchError(f"{folder} holds no books: put some there as plain text, .txt.")
    return [FoundSentence(said, KIND, SOURCE) for file in files for said in sentences(_text(file))]


def sentences(text: str) -> Iterator[str]:
    """Of 3 words or more, and at most 18 where there are commas to cut at; spelt out. Headings and what has figures are left out."""
    for paragraph in re.split(r"\n\s*\n", text):
        for whole in re.split(r"(?<=[.?!;:])\s+", _plain(paragraph)):
            for part in _portions(whole):
                bare = part.translate(DROPPED).strip(" ,-'")
                if (
                    len(re.findall(r"[a-z]+", bare, re.IGNORECASE)) >= FEWEST
                    and not re.search(r"\d", bare)
                    and not bare.isupper()
                ):
                    yield spelt(sentence(bare, {}))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise FobenchError(f"{file} cannot be read as UTF-8 text ({error}). Convert it, or take it out.") from error


def _plain(paragraph: str) -> str:
    """On one line; dashes are commas, and titles in full."""
    line = re.sub(r"\s*(--|—)\s*", ", ", " ".join(paragraph.split()))
    for short, full in TITLES.items():
        line = re.sub(short, full, line)
    return re.sub(r"\s*,[\s,]*", ", ", line)


def _portions(whole: str) -> Iterator[str]:
    """A sentence, or, of a long one, as many of its clauses together as fit."""
    kept: list[str] = []
    for clause in re.split(r"(?<=,)\s+", whole) if len(whole.split()) > MOST else [whole]:
        if kept and len(" ".join([*kept, clause]).split()) > MOST:
            yield " ".join(kept)
            kept = []
        kept.append(clause)
    yield " ".join(kept)
