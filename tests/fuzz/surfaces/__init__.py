"""The surfaces of the campaign, by what is parsed."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.case import Surface
from tests.fuzz.surfaces import commands, documents, media, runs, texts

ALL: tuple[Surface, ...] = (
    *documents.SURFACES,
    *runs.SURFACES,
    *texts.SURFACES,
    *media.SURFACES,
    *commands.SURFACES,
)


def prepare(folder: Path) -> None:
    """What all inputs are mutated from, made once before the first process."""
    runs.prepare(folder)
    media.prepare(folder)
    commands.prepare(folder)
