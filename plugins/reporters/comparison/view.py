"""What a comparison shows: the gates, every figure's change, in words and figures alike for all outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fobench.comparison import Comparison, GateVerdict
from fobench.comparison.metric_delta import MetricDelta
from fobench.console import counted
from fobench.statistics.bootstrap import Interval
from fobench_plugins.reporters.views.formatting import MINUS, NONE, line, number, shown
from fobench_plugins.reporters.views.metric_labels import FIGURES, Kind, kind_of

RELATIVE: tuple[Kind, ...] = ("ms", "factor", "count")  # kinds whose change is told as a share of what was
POINTED: tuple[Kind, ...] = ("rate", "ratio", "points")  # kinds whose change is told in percentage points
DECIMALS: Mapping[str, int] = {"%": 1, "pp": 1, "ms": 0, "mos": 2}
CAPTION = (
    "Over the scenarios that both runs have a value of. Change: pp are percentage points, % is relative; in brackets the 95 % "
    "interval. p: two-sided, corrected for the number of figures (Holm); exact McNemar for what is right or wrong, else a paired "
    "bootstrap. Percentiles are Harrell and Davis's."
)


@dataclass(frozen=True, slots=True)
class DeltaRow:
    """A figure's change; `mark`: better, worse or changed where chance is ruled out, else empty. `same`: in every scenario."""

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
    """A gate and what it says."""

    gate: str
    label: str
    verdict: str
    change: str
    interval: str
    p: str
    n: str
    why: str


def title(comparison: Comparison) -> str:
    return line(f"{comparison.new.name} against {comparison.base.name}")


def subtitle(comparison: Comparison) -> str:
    """What was compared, in one line."""
    suites = ", ".join(map(line, comparison.new.config.get("suites") or ()))
    clock = comparison.new.config.get("clock")
    told = [suites, f"{counted(len(comparison.ids), 'scenario')} in both", f"{line(clock)} clock" if clock else ""]
    return " · ".join(filter(None, [*told, line(comparison.new.run.get("costs") or "")]))


def sentence(comparison: Comparison) -> str:
    """The outcome in one sentence."""
    rulings = comparison.rulings
    if not rulings:
        marks = [row.mark for row in rows(comparison)]
        counts = [f"{marks.count(mark)} {mark}" for mark in ("worse", "better", "changed") if mark in marks]
        return (
            f"No gate was set. Of {counted(len(marks), 'figure')}: {', '.join(counts) or 'none changed beyond chance'}."
        )
    found = {verdict: [r for r in rulings if r.verdict == verdict] for verdict in ("regression", "inconclusive")}
    if found["regression"]:
        return f"Regression: {'; '.join(_account(ruling) for ruling in found['regression'])}."
    if found["inconclusive"]:
        return f"Inconclusive: {'; '.join(_account(ruling) for ruling in found['inconclusive'])}."
    return f"No regression: {counted(len(rulings), 'gate')} passed."


def _account(ruling: GateVerdict) -> str:
    change = f"{label(ruling.change)} {amount(ruling.gate.sign * ruling.harm, ruling.gate.unit)}"
    return f"{change} ({ruling.why}{needed(ruling)})"


def needed(ruling: GateVerdict) -> str:
    return f"; some {ruling.needed:,} pairs would tell" if ruling.needed else ""


def gate_rows(comparison: Comparison) -> list[GateRow]:
    """In the order of the gates."""
    return [_gate_row(ruling) for ruling in comparison.rulings]


def _gate_row(ruling: GateVerdict) -> GateRow:
    gate, change = ruling.gate, ruling.change
    scale = gate.scale(change.unit)
    return GateRow(
        line(gate.text),
        label(change),
        ruling.verdict,
        amount(change.effect(gate.relative) / scale, gate.unit),
        _interval(change.ci(gate.relative), 1 / scale, gate.unit),
        p_value(ruling.p_holm),
        f"{change.n:,}",
        line(ruling.why + needed(ruling)),
    )


def rows(comparison: Comparison) -> list[DeltaRow]:
    """In the order of a report."""
    found = [
        _row(change, p, comparison.alpha) for change, p in zip(comparison.changes, comparison.corrected(), strict=True)
    ]
    order = list(FIGURES)
    metrics = [change.metric for change in comparison.changes]
    places = [order.index(metric) if metric in order else len(order) for metric in metrics]
    return [row for _, row in sorted(zip(places, found, strict=True), key=lambda pair: pair[0])]


def unchanged(comparison: Comparison) -> str:
    """Names the figures that no scenario changed; empty if there are none."""
    found = [row.label for row in rows(comparison) if row.same]
    return f"The same in every scenario: {', '.join(found)}." if found else ""


def _row(change: MetricDelta, p: float, alpha: float) -> DeltaRow:
    kind = kind_of(change.metric, change.unit)
    unit, factor = told_in(change)
    relative = unit == "%"
    return DeltaRow(
        change.figure,
        label(change),
        shown(change.base, kind, change.unit),
        shown(change.new, kind, change.unit),
        told(change),
        _interval(change.ci(relative), factor, unit),
        p_value(p),
        f"{change.n:,}",
        mark(change) if p < alpha else "",
        not change.changed,
    )


def told_in(change: MetricDelta) -> tuple[str, float]:
    """The unit that a figure's change is told in, and the factor to it."""
    kind = kind_of(change.metric, change.unit)
    if kind in RELATIVE and change.base:
        return "%", 100.0
    if kind in POINTED:
        return "pp", 1.0 if kind == "points" else 100.0
    return "" if kind == "count" else line(change.unit), 1.0


def told(change: MetricDelta) -> str:
    """The change in its unit, e.g. "+12.2 %"."""
    unit, factor = told_in(change)
    return amount(factor * change.effect(unit == "%"), unit)


def label(change: MetricDelta) -> str:
    known = FIGURES.get(change.metric)
    return f"{known.label if known else line(change.metric)} {change.percentile}".strip()


def mark(change: MetricDelta) -> str:
    """Which way it went."""
    if change.better not in ("higher", "lower"):
        return "changed"
    return "better" if (change.effect() > 0) is (change.better == "higher") else "worse"


def amount(value: float, unit: str) -> str:
    """A signed change with its unit, e.g. "+12.2 %"."""
    if not math.isfinite(value):
        return NONE
    text = number(value, DECIMALS.get(unit, 2))
    sign = "" if text.startswith(MINUS) or not float(text.replace(",", "")) else "+"
    return f"{sign}{text} {unit}".rstrip()


def _interval(ci: Interval | None, factor: float, unit: str) -> str:
    if ci is None:
        return ""
    low, high = (amount(factor * end, "").strip() if unit not in DECIMALS else _bare(factor * end, unit) for end in ci)
    return f"{low} to {high}"


def _bare(value: float, unit: str) -> str:
    return amount(value, unit).removesuffix(unit).rstrip()


def p_value(p: float) -> str:
    """E.g. "0.031", "< 0.001"."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.995 else "1"
