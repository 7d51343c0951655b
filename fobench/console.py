"""Terminal output: rich consoles and tables, with control characters escaped."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

MIN_WIDTH = 20  # columns; a terminal that reports fewer (COLUMNS=0) has an unknown width
DEFAULT_WIDTH = 80
CONTROL_CHARACTERS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)  # controls, bidi controls, surrogates


def console(**settings: Any) -> Console:
    """A rich console whose width is at least `MIN_WIDTH` columns, else `DEFAULT_WIDTH`. `settings`: as for rich's Console."""
    from rich.console import Console

    class PipeConsole(Console):
        """A console that leaves a broken pipe to the command line; rich would exit with 1, as a failed gate does."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    result = PipeConsole(**settings)
    if result.width < MIN_WIDTH:
        result.width = DEFAULT_WIDTH
    return result


def visible(text: object) -> str:
    r"""`text` on one line with control characters escaped, e.g. `\x1b`, so that it cannot act on the terminal."""
    return CONTROL_CHARACTERS.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table; cells are escaped by `visible`."""
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(visible(cell)) for cell in row))
    console().print(grid, "")


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    safe = [[str(cell).replace("|", "\\|") for cell in row] for row in (columns, ["---"] * len(columns), *rows)]
    return [f"| {' | '.join(row)} |" for row in safe]


def counted(n: int, noun: str) -> str:
    """A count with its noun, e.g. "1 scenario", "2,000 scenarios"."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")
