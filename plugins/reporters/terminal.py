"""The tables of a run on the terminal: they fit 80 columns and need no color."""

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
from fobench.console import console as new_console
from fobench.console import visible
from fobench.formatting import DASH, one_line
from fobench.storage.run_folder import TRACES
from fobench_plugins.reporters.comparison import terminal, trend_view
from fobench_plugins.reporters.comparison.condition_table import condition_table
from fobench_plugins.reporters.views import comparability, headline, provenance, run_table
from fobench_plugins.reporters.views.formatting import label_width, wrap_ids
from fobench_plugins.reporters.views.outcome import Outcome, counts, limit_table, verdicts
from fobench_plugins.reporters.views.run_table import RunCell, RunTableGroup
from fobench_plugins.reporters.views.tables import Table, tables

WIDTH = 100  # at most; wider tables are harder to read
FILES = (
    "report.html",
    "summary.md",
    "junit.xml",
    "scores.json",
    "scores.parquet",
    "full-duplex-bench/summary.json",
    *TRACES,
)
COMPARISONS = ("comparison.html", "comparison.md", "comparison.xml", "comparison.json")
MOST_FAILURES = 5  # that are listed
BULLET = 5  # width of a bullet with its margins
LABEL, RUN, COMMON, GAP = 22, 23, 6, 2  # column widths of a table of several runs; runs that do not fit follow below


class TerminalReporter:
    """Prints and returns None. `console` is for tests."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console

    def write(self, results: Results, folder: Path) -> None:
        console = self._console or new_console(highlight=False)
        console.width = min(console.width, WIDTH)
        _heading(console, results)
        for table in (*tables(results).values(), condition_table(results)):
            if table.present:
                _show(console, table)
        _scenarios(console, results)
        _bullets(console, "Caveats", provenance.caveats(results))
        if results.limits:
            _show(console, limit_table(results))
        _paths(console, folder)

    def write_several(self, runs: Sequence[Results], folder: Path) -> None:
        console = self._console or new_console(highlight=False)
        console.width = min(console.width, WIDTH)
        console.print()
        console.print(_text(run_table.title(runs), style="bold"))
        console.print(_text(run_table.subtitle(runs), style="dim"))
        console.print()
        console.print(_text(run_table.summary(runs)))
        console.print()
        each = max(1, (console.width - LABEL - GAP - COMMON) // (RUN + GAP))
        for first in range(0, len(runs), each):
            _side_by_side(console, runs, slice(first, first + each))
        console.print(_text(run_table.CAPTION, style="dim"))
        console.print()
        _bullets(console, "Caveats", comparability.caveats(runs))
        _paths(console, folder)

    def write_comparison(self, comparison: Comparison, folder: Path | None) -> None:
        console = self._console or new_console(highlight=False)
        console.width = min(console.width, WIDTH)
        terminal.show(console, comparison)
        _bullets(console, "Caveats", list(comparison.warnings))
        written = [folder / name for name in COMPARISONS if (folder / name).is_file()] if folder else []
        for path in written:
            console.print(_text(str(path)), soft_wrap=True)

    def write_trend(self, trend: Trend, folder: Path) -> None:
        console = self._console or new_console(highlight=False)
        console.print(_text(trend_view.summary(trend)))
        _bullets(console, "", [f"Run {p.run}: {p.label} {p.description}" for p in trend_view.change_points(trend)])
        if (folder / "trend.html").is_file():
            console.print(_text(str(folder / "trend.html")), soft_wrap=True)


def _side_by_side(console: Console, runs: Sequence[Results], shown: slice) -> None:
    """The runs `shown` as columns."""
    padding = (0, GAP - 1, 0, 0)  # the box draws a space as well
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=padding, expand=True, show_edge=False)
    table.add_column("", ratio=1)
    for name in run_table.run_names(runs)[shown]:
        table.add_column(_text(name, width=RUN), justify="right", overflow="fold", width=RUN)
    table.add_column("Common", justify="right", no_wrap=True)
    for label, values in comparability.component_rows(runs):
        texts = (_text(value or DASH, width=RUN, style="dim") for value in values[shown])
        table.add_row(_text(label, style="dim"), *texts, "")
    for group in run_table.groups(runs):
        _group(table, group, shown)
    console.print(table)
    console.print()


def _group(table: RichTable, group: RunTableGroup, shown: slice) -> None:
    table.add_section()
    table.add_row(_text(group.title, style="bold"))
    for row in group.rows:
        table.add_row(_text(row.label, width=LABEL), *(_cell(cell) for cell in row.cells[shown]), _text(row.shared))


def _cell(cell: RunCell) -> Text:
    return _text(cell.value).append("\n").append(_text(cell.rest, width=RUN, style="dim"))


def _text(text: object, width: int | None = None, **settings: Any) -> Text:
    """`text` as it is, its identifiers broken at their separators to fit `width`."""
    shown = visible(text)
    return Text(shown if width is None else wrap_ids(shown, width), **settings)


def _heading(console: Console, results: Results) -> None:
    console.print()
    console.print(_text(one_line(headline.title(results)), style="bold"))
    console.print(_text(provenance.subtitle(results), style="dim"))
    console.print()
    console.print(_text(headline.headline(results)))
    console.print()


def _show(console: Console, content: Table) -> None:
    console.print(_text(content.title, style="bold"))
    console.print(_text(content.caption, style="dim"))
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), expand=True, show_edge=False)
    table.add_column(content.columns[0], ratio=1, overflow="fold")
    for column in content.columns[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    rows = [[cell or DASH for cell in row.cells] for row in content.present]
    width = label_width(console.width, content.columns[1:], rows)
    for row, cells in zip(content.present, rows, strict=True):
        table.add_row(_text(row.label, width=width), *map(_text, cells))
    console.print(table)
    for row in content.present:
        if row.note:
            console.print(_text(f"  {row.label}: {row.note}", width=console.width, style="dim"))
    console.print()


def _scenarios(console: Console, results: Results) -> None:
    outcomes = verdicts(results)
    counted = ", ".join(f"{n} {outcome}" for outcome, n in counts(outcomes).items() if n) or "none"
    console.print(_text(f"Scenarios: {len(outcomes)} ({counted})", style="bold"))
    failed = [
        f"{one_line(t.id)}: {v.why}"
        for t, v in zip(results.traces, outcomes, strict=True)
        if v.outcome == Outcome.FAILED
    ]
    more = [f"and {len(failed) - MOST_FAILURES} more: see the report"] if len(failed) > MOST_FAILURES else []
    _bullets(console, "", failed[:MOST_FAILURES] + more)


def _bullets(console: Console, title: str, points: list[str]) -> None:
    if title and points:
        console.print(_text(title, style="bold"))
    for point in points:
        grid = RichTable.grid(padding=(0, 1))
        grid.add_row("  -", _text(point, width=console.width - BULLET, overflow="fold"))
        console.print(grid)
    console.print()


def _paths(console: Console, folder: Path) -> None:
    """Prints paths without wrapping, so that they can be clicked and copied."""
    for name in FILES:
        if (folder / name).is_file():
            console.print(_text(str(folder / name)), soft_wrap=True)
    if not (folder / FILES[0]).is_file():
        console.print(_text(str(folder)), soft_wrap=True)
