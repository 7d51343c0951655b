"""The tables of a run on the terminal: 80 columns are enough, colour is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from fobench.api.results import Results
from fobench.comparison import Comparison
from fobench.comparison.trend import Trend
from fobench.console import console as usable
from fobench.console import visible
from fobench_plugins.reporters.comparison import terminal
from fobench_plugins.reporters.html import trend_charts
from fobench_plugins.reporters.views import comparability, headline, provenance, run_table
from fobench_plugins.reporters.views.formatting import NONE, line
from fobench_plugins.reporters.views.outcome import Outcome, counts, verdicts
from fobench_plugins.reporters.views.run_table import RunCell, RunTableGroup
from fobench_plugins.reporters.views.tables import Table, tables

WIDTH = 100  # at most: wider tables are harder to read
FILES = ("report.html", "summary.md", "junit.xml", "scores.json", "scores.parquet", "traces.jsonl")
COMPARISONS = ("comparison.html", "comparison.md", "comparison.xml", "comparison.json")
MOST_FAILURES = 5  # named one by one
LABEL, RUN, COMMON, GAP = 22, 23, 6, 2  # columns of a table of several runs; runs that do not fit beside go below


class TerminalReporter:
    """Prints; returns None. `console` is for tests."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console

    def write(self, results: Results, folder: Path) -> None:
        console = self._console or usable(highlight=False)
        console.width = min(console.width, WIDTH)
        _heading(console, results)
        for table in tables(results).values():
            if table.present:
                _show(console, table)
        _scenarios(console, results)
        _bullets(console, "To bear in mind", provenance.warnings(results))
        _paths(console, folder)

    def write_several(self, runs: Sequence[Results], folder: Path) -> None:
        console = self._console or usable(highlight=False)
        console.width = min(console.width, WIDTH)
        console.print()
        console.print(_text(run_table.title(runs), style="bold"))
        console.print(_text(run_table.subtitle(runs), style="dim"))
        console.print()
        console.print(_text(run_table.sentence(runs)))
        console.print()
        each = max(1, (console.width - LABEL - GAP - COMMON) // (RUN + GAP))
        for first in range(0, len(runs), each):
            _side_by_side(console, runs, slice(first, first + each))
        console.print(_text(run_table.CAPTION, style="dim"))
        console.print()
        _bullets(console, "To bear in mind", comparability.warnings(runs))
        _paths(console, folder)

    def write_comparison(self, comparison: Comparison, folder: Path | None) -> None:
        console = self._console or usable(highlight=False)
        console.width = min(console.width, WIDTH)
        terminal.show(console, comparison)
        _bullets(console, "To bear in mind", list(comparison.warnings))
        written = [folder / name for name in COMPARISONS if (folder / name).is_file()] if folder else []
        for path in written:
            console.print(_text(str(path)), soft_wrap=True)

    def write_trend(self, trend: Trend, folder: Path) -> None:
        console = self._console or usable(highlight=False)
        console.print(_text(trend_charts.sentence(trend)))
        _bullets(console, "", [f"{told.run}: {told.label} {told.what}" for told in trend_charts.steps(trend)])
        if (folder / "trend.html").is_file():
            console.print(_text(str(folder / "trend.html")), soft_wrap=True)


def _side_by_side(console: Console, runs: Sequence[Results], shown: slice) -> None:
    """The runs `shown` as columns."""
    padding = (0, GAP - 1, 0, 0)  # the box draws a space, too
    made = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=padding, expand=True, show_edge=False)
    made.add_column("", ratio=1)
    for name in run_table.names(runs)[shown]:
        made.add_column(_text(name), justify="right", overflow="fold", width=RUN)
    made.add_column("Common", justify="right", no_wrap=True)
    for label, values in comparability.parts(runs):
        made.add_row(_text(label, style="dim"), *(_text(value or NONE, style="dim") for value in values[shown]), "")
    for group in run_table.groups(runs):
        _group(made, group, shown)
    console.print(made)
    console.print()


def _group(made: RichTable, group: RunTableGroup, shown: slice) -> None:
    made.add_section()
    made.add_row(_text(group.title, style="bold"))
    for row in group.lines:
        made.add_row(_text(row.label), *(_cell(cell) for cell in row.cells[shown]), _text(row.shared))


def _cell(cell: RunCell) -> Text:
    return _text(cell.value).append("\n").append(_text(cell.rest, style="dim"))


def _text(text: object, **settings: Any) -> Text:
    return Text(visible(text), **settings)


def _heading(console: Console, results: Results) -> None:
    console.print()
    console.print(_text(line(headline.title(results)), style="bold"))
    console.print(_text(provenance.subtitle(results), style="dim"))
    console.print()
    console.print(_text(headline.headline(results)))
    console.print()


def _show(console: Console, table: Table) -> None:
    console.print(_text(table.title, style="bold"))
    console.print(_text(table.caption, style="dim"))
    made = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), expand=True, show_edge=False)
    made.add_column(table.columns[0], ratio=1, overflow="fold")
    for column in table.columns[1:]:
        made.add_column(column, justify="right", no_wrap=True)
    for row in table.present:
        made.add_row(*(_text(cell or NONE) for cell in (row.label, *row.cells)))
    console.print(made)
    for row in table.present:
        if row.note:
            console.print(_text(f"  {row.label}: {row.note}", style="dim"))
    console.print()


def _scenarios(console: Console, results: Results) -> None:
    found = verdicts(results)
    counted = ", ".join(f"{n} {outcome}" for outcome, n in counts(found).items() if n) or "none"
    console.print(_text(f"Scenarios: {len(found)} ({counted})", style="bold"))
    failed = [
        f"{line(t.id)}: {v.why}" for t, v in zip(results.traces, found, strict=True) if v.outcome == Outcome.FAILED
    ]
    more = [f"and {len(failed) - MOST_FAILURES} more: see the report"] if len(failed) > MOST_FAILURES else []
    _bullets(console, "", failed[:MOST_FAILURES] + more)


def _bullets(console: Console, title: str, points: list[str]) -> None:
    if title and points:
        console.print(_text(title, style="bold"))
    for point in points:
        grid = RichTable.grid(padding=(0, 1))
        grid.add_row("  -", _text(point, overflow="fold"))
        console.print(grid)
    console.print()


def _paths(console: Console, folder: Path) -> None:
    """Unwrapped, so that they can be clicked and copied."""
    for name in FILES:
        if (folder / name).is_file():
            console.print(_text(str(folder / name)), soft_wrap=True)
    if not (folder / FILES[0]).is_file():
        console.print(_text(str(folder)), soft_wrap=True)
