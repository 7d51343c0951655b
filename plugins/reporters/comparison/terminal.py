"""A comparison on the terminal: it fits 80 columns and needs no color."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from fobench.comparison import Comparison
from fobench.console import counted, visible
from fobench_plugins.reporters.comparison import view
from fobench_plugins.reporters.comparison.scenarios import ChangedItem, changed_items
from fobench_plugins.reporters.views.formatting import label_width, wrap_ids

MOST_ITEMS = 5
STYLES = {"regression": "bold red", "inconclusive": "yellow", "ok": "green", "worse": "red", "better": "green"}


def show(console: Console, comparison: Comparison) -> None:
    """Prints the outcome, the gates, the changes and the most changed scenarios."""
    console.print()
    console.print(_text(view.title(comparison), style="bold"))
    console.print(_text(view.subtitle(comparison), style="dim"))
    console.print()
    console.print(_text(view.summary(comparison)))
    console.print()
    if comparison.verdicts:
        console.print(_gates(comparison, console.width))
        console.print()
    if not all(change.changed == 0 for change in comparison.changes):
        console.print(_changes(comparison, console.width))
        console.print(_text(view.CAPTION, style="dim"))
        console.print()
    if same := view.unchanged(comparison):
        console.print(_text(same))
        console.print()
    _items(console, changed_items(comparison))


def _gates(comparison: Comparison, width: int) -> RichTable:
    columns, rows = ("Verdict", "Change", "p", "n"), view.gate_rows(comparison)
    cells = [(row.verdict, max(row.change, row.interval, key=len), row.p, row.n) for row in rows]
    table, width = _table("Gate", *columns), label_width(width, columns, cells)
    for row in rows:
        change = _text(row.change).append(f"\n{row.interval}", style="dim")
        gate = _text(row.gate, width=width).append(f"\n{visible(row.why)}", style="dim")
        table.add_row(gate, _text(row.verdict, style=STYLES.get(row.verdict, "")), change, row.p, row.n)
    return table


def _changes(comparison: Comparison, width: int) -> RichTable:
    columns = ("Before", "Now", "Change", "p", "n", "")
    rows = [row for row in view.rows(comparison) if not row.same]
    cells = [(row.base, row.new, max(row.change, row.interval, key=len), row.p, row.n, row.mark) for row in rows]
    table, width = _table("", *columns), label_width(width, columns, cells)
    for row in rows:
        change = _text(row.change).append(f"\n{row.interval}", style="dim")
        style = STYLES.get(row.mark, "")
        label = _text(row.label, width=width)
        table.add_row(label, row.base, row.new, change, row.p, row.n, _text(row.mark, style=style))
    return table


def _table(first: str, *columns: str) -> RichTable:
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), expand=True, show_edge=False)
    table.add_column(first, ratio=1, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _items(console: Console, items: list[ChangedItem]) -> None:
    console.print(_text(f"{counted(len(items), 'scenario')} changed", style="bold"))
    for item in items[:MOST_ITEMS]:
        figures = "; ".join(f"{label}: {before} -> {now}" for label, before, now in item.figures)
        console.print(_text(f"  {item.kind:7} {item.id}  {figures}", width=console.width), soft_wrap=False)
    if len(items) > MOST_ITEMS:
        console.print(
            _text(f"  and {len(items) - MOST_ITEMS} more: --output writes a page with all of them", style="dim")
        )
    console.print()


def _text(text: object, width: int | None = None, **settings: Any) -> Text:
    """`text` as it is, its identifiers broken at their separators to fit `width`."""
    shown = visible(text)
    return Text(shown if width is None else wrap_ids(shown, width), **settings)
