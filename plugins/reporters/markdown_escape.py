"""Markdown with escaped text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from fobench.formatting import one_line

SPECIAL = re.compile(r"([\\`*_\[\]#|~$])")
HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escape(text: object) -> str:
    """`text` on one line with Markdown and HTML escaped; `@name` notifies nobody."""
    safe = "".join(HTML.get(letter, letter) for letter in one_line(text))
    return SPECIAL.sub(r"\\\1", safe).replace("@", "@\u200b")


def cells(row: Sequence[str], raw: bool = False) -> str:
    """A table row."""
    return "| " + " | ".join(cell if raw else escape(cell) for cell in row) + " |"


def bullets(title: str, items: Sequence[str]) -> Iterator[str]:
    """A section with a bullet per item; nothing without items."""
    if items:
        yield from ("", f"## {title}", "", *(f"- {escape(item)}" for item in items))
