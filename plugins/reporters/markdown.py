"""summary.md: the tables of a run for a pull request, an issue or a wiki."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fobench.api.results import Results
from fobench.atomic_files import write_text
from fobench.comparison import Comparison
from fobench.formatting import DASH, one_line
from fobench_plugins.reporters.comparison import markdown
from fobench_plugins.reporters.comparison.condition_table import condition_table
from fobench_plugins.reporters.markdown_escape import bullets, cells, escape
from fobench_plugins.reporters.views import comparability, headline, provenance, run_table
from fobench_plugins.reporters.views.outcome import Outcome, counts, limit_table, verdicts
from fobench_plugins.reporters.views.tables import Table, tables

MOST_FAILURES = 20  # failed and wrong scenarios listed
BAD = (Outcome.FAILED, Outcome.WRONG)


class MarkdownReporter:
    """Writes summary.md, or comparison.md for a comparison."""

    def write(self, results: Results, folder: Path) -> Path:
        return write_text(folder / "summary.md", "\n".join(document(results)) + "\n", errors="replace", parents=True)

    def write_several(self, runs: Sequence[Results], folder: Path) -> Path:
        return write_text(folder / "summary.md", "\n".join(runs_document(runs)) + "\n", errors="replace", parents=True)

    def write_comparison(self, comparison: Comparison, folder: Path) -> Path:
        return write_text(
            folder / "comparison.md", "\n".join(markdown.document(comparison)) + "\n", errors="replace", parents=True
        )


def document(results: Results) -> Iterator[str]:
    """The lines of the summary."""
    yield f"# {escape(headline.title(results))}"
    yield ""
    yield f"{escape(provenance.subtitle(results))}"
    yield ""
    yield f"**{escape(headline.headline(results))}**"
    yield ""
    for label, _, sentence in headline.parity_verdicts(results):
        yield f"- {escape(label)}: {escape(sentence)}"
    for table in (limit_table(results), *tables(results).values(), condition_table(results)):
        if table.present:
            yield from _table(table)
    yield from _scenarios(results)
    yield from bullets("Caveats", provenance.caveats(results))
    yield from _method(results)


def runs_document(runs: Sequence[Results]) -> Iterator[str]:
    """The lines of a summary of several runs."""
    yield from (
        f"# {escape(run_table.title(runs))}",
        "",
        escape(run_table.subtitle(runs)),
        "",
        f"**{escape(run_table.summary(runs))}**",
        "",
    )
    names = run_table.run_names(runs)
    yield cells(("", *names, "Common"))
    yield cells((":--", *("--:" for _ in names), "--:"), raw=True)
    for group in run_table.groups(runs):
        yield cells((f"**{escape(group.title)}**", *("" for _ in names), ""), raw=True)
        for row in group.rows:
            yield cells((row.label, *(f"{cell.value} ({cell.rest})" for cell in row.cells), row.shared))
    yield from ("", escape(run_table.CAPTION))
    yield from bullets("Caveats", comparability.caveats(runs))
    yield from ("", "## Setup", "", cells(("", *names)), cells((":--", *(":--" for _ in names)), raw=True))
    yield from (cells((label, *(value or DASH for value in values))) for label, values in comparability.fact_rows(runs))
    for name, command in comparability.commands(runs):
        yield from ("", f"{escape(name)}:", "", f"    {one_line(command)}")


def _table(table: Table) -> Iterator[str]:
    yield from ("", f"## {escape(table.title)}", "", escape(table.caption), "")
    columns = (*table.columns, "Note") if any(row.note for row in table.present) else table.columns
    yield cells(columns)
    yield cells([":--", *("--:" for _ in table.columns[1:]), *("--" for _ in columns[len(table.columns) :])], raw=True)
    for row in table.present:
        note = (row.note,) if len(columns) > len(table.columns) else ()
        yield cells((row.label, *(cell or DASH for cell in row.cells), *note))


def _scenarios(results: Results) -> Iterator[str]:
    outcomes = verdicts(results)
    counted = ", ".join(f"{n} {outcome}" for outcome, n in counts(outcomes).items() if n) or "none"
    yield from ("", "## Scenarios", "", f"{len(outcomes)} scenarios: {counted}.", "")
    named = zip((trace.id for trace in results.traces), outcomes, strict=True)
    bad = sorted((item for item in named if item[1].outcome in BAD), key=lambda item: BAD.index(item[1].outcome))
    if not bad:
        return
    yield cells(("Scenario", "Outcome", "Reason"))
    yield cells((":--", ":--", ":--"), raw=True)
    for name, verdict in bad[:MOST_FAILURES]:
        yield cells((name, verdict.outcome, verdict.why))
    if len(bad) > MOST_FAILURES:
        yield from ("", f"and {len(bad) - MOST_FAILURES} more: see report.html.")


def _method(results: Results) -> Iterator[str]:
    yield from ("", "## Method", "", "Command:", "", f"    {one_line(provenance.command(results))}", "")
    for label, value in (*provenance.facts(results), *provenance.machine(results)):
        yield f"- {escape(label)}: {escape(value)}"
