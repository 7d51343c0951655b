"""Pieces of Markdown, with all text made harmless."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from fobench_plugins.reporters.views.formatting import line

SPECIAL = re.compile(r"([\\`*_\[\]#|~$])")
HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escape(text: object) -> str:
    """`text` in one line, with nothing in it that Markdown or HTML would act on; `@name` notifies nobody."""
    safe = "".join(HTML.get(letter, letter) for letter in line(text))
    return SPECIAL.sub(r"\\\1", safe).replace("@", "@\u200b")


def cells(row: Sequence[str], raw: bool = False) -> str:
    """A row of a table."""
    return "| " + " | ".join(cell if raw else escape(cell) for cell in row) + " |"


def points(title: str, told: Sequence[str]) -> Iterator[str]:
    """A section of bullets; nothing where there are none."""
    if told:
        yield from ("", f"## {title}", "", *(f"- {escape(point)}" for point in told))
