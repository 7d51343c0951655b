"""What a comparison shows in every format: the gates, and the change of each metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fobench.comparison import Comparison, GateVerdict
from fobench.comparison.metric_delta import MetricDelta
from fobench.console import counted
from fobench.formatting import interval, one_line, p_value, with_unit
from fobench.statistics.bootstrap import Interval
from fobench_plugins.reporters.views.formatting import metric_value
from fobench_plugins.reporters.views.metric_labels import METRICS, Kind, kind_of

RELATIVE: tuple[Kind, ...] = ("ms", "factor", "count")  # kinds whose change is shown relative to the base
IN_POINTS: tuple[Kind, ...] = ("rate", "ratio", "points")  # kinds whose change is shown in percentage points
DECIMALS: Mapping[str, int] = {"%": 1, "pp": 1, "ms": 0, "mos": 2}
CAPTION = (
    "Over the scenarios that have a value in both runs. Change: pp are percentage points, % is relative to the base; in brackets, "
    "the 95 % interval. p: two-sided, with Holm's correction over all metrics; exact McNemar test for right-or-wrong scores, "
    "otherwise a paired bootstrap. Percentiles are Harrell-Davis estimates."
)


@dataclass(frozen=True, slots=True)
class DeltaRow:
    """A metric's change. `mark`: better, worse or changed if significant, else empty; `same`: equal in every scenario."""

    figure: str
    label: str
    base: str
    new: str
    change: str
    interval: str
    p: str
    n: str
    mark: str
    same: bool


@dataclass(frozen=True, slots=True)
class GateRow:
    """A gate and its verdict."""

    gate: str
    label: str
    verdict: str
    change: str
    interval: str
    p: str
    n: str
    why: str


def title(comparison: Comparison) -> str:
    return one_line(f"{comparison.new.name} compared with {comparison.base.name}")


def subtitle(comparison: Comparison) -> str:
    """Suites, scenarios, clock and latency profile on one line."""
    suites = ", ".join(map(one_line, comparison.new.config.get("suites") or ()))
    clock = comparison.new.config.get("clock")
    costs = comparison.new.run.get("costs")
    parts = [
        suites,
        f"{counted(len(comparison.ids), 'scenario')} in both",
        f"{one_line(clock)} clock" if clock else "",
        f"{one_line(costs)} latency profile" if costs else "",
    ]
    return " · ".join(filter(None, parts))


def summary(comparison: Comparison) -> str:
    """The outcome in one sentence."""
    rulings = comparison.verdicts
    if not rulings:
        marks = [row.mark for row in rows(comparison)]
        counts = [f"{marks.count(mark)} {mark}" for mark in ("worse", "better", "changed") if mark in marks]
        return (
            f"No gate was set. Of {counted(len(marks), 'metric')}: {', '.join(counts) or 'none changed significantly'}."
        )
    by_verdict = {verdict: [r for r in rulings if r.verdict == verdict] for verdict in ("regression", "inconclusive")}
    if by_verdict["regression"]:
        return f"Regression: {'; '.join(_gate_summary(ruling) for ruling in by_verdict['regression'])}."
    if by_verdict["inconclusive"]:
        return f"Inconclusive: {'; '.join(_gate_summary(ruling) for ruling in by_verdict['inconclusive'])}."
    return f"No regression: {counted(len(rulings), 'gate')} passed."


def _gate_summary(ruling: GateVerdict) -> str:
    change = f"{label(ruling.change)} {amount(ruling.gate.sign * ruling.harm, ruling.gate.unit)}"
    return f"{change} ({ruling.why}{pairs_needed(ruling)})"


def pairs_needed(ruling: GateVerdict) -> str:
    return f"; about {ruling.needed:,} pairs are needed" if ruling.needed else ""


def gate_rows(comparison: Comparison) -> list[GateRow]:
    """In the order of the gates."""
    return [_gate_row(ruling) for ruling in comparison.verdicts]


def _gate_row(ruling: GateVerdict) -> GateRow:
    gate, change = ruling.gate, ruling.change
    scale = gate.scale(change.unit)
    return GateRow(
        one_line(gate.text),
        label(change),
        ruling.verdict,
        amount(change.effect(gate.relative) / scale, gate.unit),
        _interval(change.ci(gate.relative), 1 / scale, gate.unit),
        p_value(ruling.p_holm),
        f"{change.n:,}",
        one_line(ruling.why + pairs_needed(ruling)),
    )


def rows(comparison: Comparison) -> list[DeltaRow]:
    """In the order of a report."""
    found = [
        _row(change, p, comparison.alpha) for change, p in zip(comparison.changes, comparison.corrected(), strict=True)
    ]
    order = list(METRICS)
    metrics = [change.metric for change in comparison.changes]
    places = [order.index(metric) if metric in order else len(order) for metric in metrics]
    return [row for _, row in sorted(zip(places, found, strict=True), key=lambda pair: pair[0])]


def unchanged(comparison: Comparison) -> str:
    """The metrics that are equal in every scenario, in one sentence; empty if there are none."""
    found = [row.label for row in rows(comparison) if row.same]
    return f"Unchanged in every scenario: {', '.join(found)}." if found else ""


def _row(change: MetricDelta, p: float, alpha: float) -> DeltaRow:
    kind = kind_of(change.metric, change.unit)
    return DeltaRow(
        change.figure,
        label(change),
        metric_value(change.base, kind, change.unit),
        metric_value(change.new, kind, change.unit),
        change_text(change),
        interval_text(change),
        p_value(p),
        f"{change.n:,}",
        direction(change) if p < alpha else "",
        not change.changed,
    )


def change_unit(change: MetricDelta) -> tuple[str, float]:
    """The unit that a metric's change is shown in, and the factor to it."""
    kind = kind_of(change.metric, change.unit)
    if kind in RELATIVE and change.base:
        return "%", 100.0
    if kind in IN_POINTS:
        return "pp", 1.0 if kind == "points" else 100.0
    return "" if kind == "count" else one_line(change.unit), 1.0


def change_text(change: MetricDelta) -> str:
    """The change in its unit, e.g. "+12.2 %"."""
    unit, factor = change_unit(change)
    return amount(factor * change.effect(unit == "%"), unit)


def interval_text(change: MetricDelta) -> str:
    """The change's 95 % interval in its unit; empty where there is none."""
    unit, factor = change_unit(change)
    return _interval(change.ci(unit == "%"), factor, unit)


def label(change: MetricDelta) -> str:
    known = METRICS.get(change.metric)
    return f"{known.label if known else one_line(change.metric)} {change.percentile}".strip()


def direction(change: MetricDelta) -> str:
    """Better, worse, or changed where neither direction is better."""
    if change.better not in ("higher", "lower"):
        return "changed"
    return "better" if (change.effect() > 0) is (change.better == "higher") else "worse"


def amount(value: float, unit: str) -> str:
    """A signed change with its unit, e.g. "+12.2 %"."""
    return with_unit(value, DECIMALS.get(unit, 2), unit, signed=True)


def _interval(ci: Interval | None, factor: float, unit: str) -> str:
    return interval(ci, DECIMALS.get(unit, 2), scale=factor, signed=True)
