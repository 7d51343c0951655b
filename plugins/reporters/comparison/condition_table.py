"""A run's robustness in one table: each condition beside the clean one, as paired differences."""

from __future__ import annotations

from fobench.api.results import Results
from fobench.comparison.conditions import condition_deltas
from fobench.comparison.metric_delta import MetricDelta
from fobench.formatting import DASH, one_line
from fobench_plugins.reporters.comparison import view
from fobench_plugins.reporters.views.formatting import metric_value
from fobench_plugins.reporters.views.metric_labels import kind_of
from fobench_plugins.reporters.views.tables import Table, TableRow

LABELS = {  # figures of the table, in its order
    "understanding_wer": "ASR WER",
    "accuracy_s2t": "accuracy s2t",
    "accuracy_s2s": "accuracy s2s",
    "response_ms.p50": "response p50",
    "turn_success": "turn-taking success",
    "pause_takeover_rate": "premature end of turn",
    "yield_rate": "barge-in success",
    "false_yield_rate": "false barge-in",
}
CAPTION = (
    "Each condition against the same scenarios heard clean: change, paired by scenario (pp: percentage points; % is relative), with "
    "its 95 % interval; n: pairs. Percentiles are Harrell-Davis estimates over the pairs."
)


def condition_table(results: Results) -> Table:
    """A row per condition and metric; empty for a run without the clean condition and another one."""
    deltas = condition_deltas(results, {figure.partition(".")[0] for figure in LABELS})
    by_condition = {name: {delta.figure: delta for delta in found} for name, found in deltas.items()}
    rows = tuple(
        _row(name, found[figure], label)
        for name, found in by_condition.items()
        for figure, label in LABELS.items()
        if figure in found and found[figure].shown
    )
    return Table("By condition", CAPTION, ("Condition", "Clean", "Value", "Change", "95 % interval", "n"), rows)


def _row(condition: str, delta: MetricDelta, label: str) -> TableRow:
    kind, interval = kind_of(delta.metric, delta.unit), view.interval_text(delta)
    values = (metric_value(value, kind, delta.unit) for value in (delta.base, delta.new))
    cells = (*values, view.change_text(delta), interval or DASH, f"{delta.n:,}")
    return TableRow(f"{condition}.{delta.figure}", one_line(f"{condition}: {label}"), cells)
