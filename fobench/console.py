"""The terminal: a console of a usable width, and text that cannot steer it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

NARROWEST = 20  # columns; what claims fewer (COLUMNS=0) does not know its width
USUAL = 80
STEERING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)  # controls, bidi controls, surrogates


def console(**settings: Any) -> Console:
    """A rich console that prints something however few columns it is told to have."""
    from rich.console import Console

    made = Console(**settings)
    if made.width < NARROWEST:
        made.width = USUAL
    return made


def visible(text: object) -> str:
    r"""`text` in one line, with everything that would act on a terminal escaped, e.g. `\x1b`."""
    return STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table of texts."""
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text(visible(cell)) for cell in row))
    console().print(made, "")


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    safe = [[str(cell).replace("|", "\\|") for cell in row] for row in (columns, ["---"] * len(columns), *rows)]
    return [f"| {' | '.join(row)} |" for row in safe]


def counted(n: int, noun: str) -> str:
    """E.g. "1 scenario", "2,000 scenarios"."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")
