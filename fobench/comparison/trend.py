"""Trends: metrics over many runs, oldest first, with their change points.

Each run is compared, item by item, with the first run of its segment; a significant difference begins a new segment. This
detects a jump between two runs, and a slow drift once its total is significant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fobench.comparison.compatibility import Incompatibility, mismatches
from fobench.comparison.gate_verdict import ALPHA
from fobench.comparison.metric_delta import SHARES, MetricDelta, metric_deltas
from fobench.comparison.paired_scores import PairedScores, common_ids, pair_scores
from fobench.comparison.snapshot import ScoreColumn, Snapshot
from fobench.errors import FobenchError
from fobench.statistics.metric_resampling import quantile

RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """The start of a segment at run `index`, by a significant `change`, or because the runs are `unlike` (not comparable)."""

    index: int
    kind: Literal["change", "unlike"]
    change: MetricDelta | None = None
    why: str = ""


@dataclass(slots=True)
class Series:
    """The series of the metric `figure`: its value in each run (None without one) and its change points."""

    figure: str
    unit: str
    better: str
    values: list[float | None]
    points: list[ChangePoint] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Trend:
    """The series of all metrics with a value in at least two runs."""

    runs: Sequence[Snapshot]
    series: Mapping[str, Series]


def trend(runs: Sequence[Snapshot], alpha: float = ALPHA, resamples: int = RESAMPLES) -> Trend:
    """The trend of `runs`, oldest first. Tests are Bonferroni-corrected over the steps of a metric.

    Raises `FobenchError` for fewer than two runs.
    """
    if len(runs) < 2:
        raise FobenchError(f"A trend needs at least two runs, not {len(runs)}: save more baselines.")
    series = {figure: each for figure, each in _series(runs).items() if sum(v is not None for v in each.values) > 1}
    segment_start = dict.fromkeys(series, 0)
    for index in range(1, len(runs)):
        for first in sorted({*segment_start.values()}):
            own = [figure for figure in series if segment_start[figure] == first]
            for figure, point in _change_points(runs, first, index, own, alpha / (len(runs) - 1), resamples):
                series[figure].points.append(point)
                segment_start[figure] = index
    return Trend(runs, series)


def _change_points(
    runs: Sequence[Snapshot], first: int, index: int, figures: Sequence[str], alpha: float, resamples: int
) -> list[tuple[str, ChangePoint]]:
    """The change points, by metric, of run `index` against run `first`."""
    base, new = runs[first], runs[index]
    incompatibilities = mismatches(base, new)
    pairs = {each.metric: each for each in pair_scores(base, new)}
    reasons = {figure: _incomparable_reason(figure, incompatibilities, pairs) for figure in figures}
    found = [
        (figure, ChangePoint(index, "unlike", why=why))
        for figure, why in reasons.items()
        if why and _metric(figure) in new.columns
    ]
    comparable = [
        each
        for each in pairs.values()
        if any(_metric(figure) == each.metric and not reasons[figure] for figure in figures)
    ]
    deltas = metric_deltas(comparable, len(common_ids(base, new)), resamples=resamples) if comparable else []
    changed = [
        (c.figure, ChangePoint(index, "change", c))
        for c in deltas
        if c.figure in reasons and c.shown and c.changed and c.p < alpha
    ]
    return [*found, *changed]


def _incomparable_reason(
    figure: str, incompatibilities: Sequence[Incompatibility], pairs: Mapping[str, PairedScores]
) -> str:
    """The reason why a metric of the two runs is not comparable; empty if it is."""
    own = pairs.get(_metric(figure))
    return "; ".join(str(each) for each in incompatibilities if own is not None and each.affects(own))


def _series(runs: Sequence[Snapshot]) -> dict[str, Series]:
    found: dict[str, Series] = {}
    for index, run in enumerate(runs):
        for metric, column in run.columns.items():
            for figure in [f"{metric}.{name}" for name in ("p50", "p90")] if column.is_distribution else [metric]:
                empty: list[float | None] = [None] * len(runs)
                series = found.setdefault(figure, Series(figure, column.unit, column.better, empty))
                series.values[index] = _value(column, figure)
    return found


def _value(column: ScoreColumn, figure: str) -> float | None:
    if column.is_distribution:
        return quantile(column.numerators, SHARES[figure.rpartition(".")[2]])
    return float(column.numerators.sum() / column.denominators.sum()) if column.denominators.sum() else None


def _metric(figure: str) -> str:
    return figure.partition(".")[0]
