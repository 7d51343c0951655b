"""comparison.md: a comparison for a CI job summary or a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fobench.comparison import Comparison
from fobench.formatting import DASH
from fobench_plugins.reporters.comparison import view
from fobench_plugins.reporters.comparison.scenarios import ChangedItem, ItemText, changed_items
from fobench_plugins.reporters.markdown_escape import bullets, cells, escape

MOST_ITEMS = 10


def document(comparison: Comparison) -> Iterator[str]:
    """The lines of the summary."""
    yield from (f"# {escape(view.title(comparison))}", "", escape(view.subtitle(comparison)), "")
    yield f"**{escape(view.summary(comparison))}**"
    yield from _gates(comparison)
    yield from ("", "## Changes", "", escape(view.CAPTION), "")
    yield cells(("", "Before", "Now", "Change", "p", "n", ""))
    yield cells((":--", "--:", "--:", "--:", "--:", "--:", ":--"), raw=True)
    for row in (row for row in view.rows(comparison) if not row.same):
        yield cells((row.label, row.base, row.new, _with(row.change, row.interval), row.p, row.n, row.mark))
    if same := view.unchanged(comparison):
        yield from ("", escape(same))
    yield from _items(changed_items(comparison))
    yield from bullets("Caveats", comparison.warnings)


def _gates(comparison: Comparison) -> Iterator[str]:
    if not comparison.verdicts:
        return
    yield from ("", "## Gates", "")
    yield cells(("Gate", "Verdict", "Change", "p", "n", "Reason"))
    yield cells((":--", ":--", "--:", "--:", "--:", ":--"), raw=True)
    for row in view.gate_rows(comparison):
        yield cells((row.gate, row.verdict, _with(row.change, row.interval), row.p, row.n, row.why))


def _items(items: Sequence[ChangedItem]) -> Iterator[str]:
    yield from ("", "## Scenarios that changed", "")
    if not items:
        yield "None."
        return
    yield cells(("Scenario", "", "Question", "Before", "Now"))
    yield cells((":--", ":--", ":--", ":--", ":--"), raw=True)
    for item in items[:MOST_ITEMS]:
        before, now = (_last(said) for said in (item.before, item.now))
        yield cells((item.id, item.kind, item.question, before, now))
    if len(items) > MOST_ITEMS:
        yield from ("", f"and {len(items) - MOST_ITEMS} more: see comparison.html or comparison.json.")


def _last(said: Sequence[ItemText]) -> str:
    """The last text that differs between the runs: what the listener heard, as far as it is known."""
    return next((text.text for text in reversed(said) if text.changed), DASH)


def _with(change: str, interval: str) -> str:
    return f"{change} ({interval})" if interval else change
