"""A trend: figures over many runs, oldest first, with the points at which they changed beyond chance.

Each run is compared, item by item, with the run that its stretch began with: where a figure differs beyond chance, a new
stretch begins. So a jump is found with two runs, and a slow drift, too, as soon as it has gone far enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fobench.comparison.compatibility import Incompatibility, mismatches
from fobench.comparison.gate_verdict import ALPHA
from fobench.comparison.metric_delta import SHARES, MetricDelta, changes
from fobench.comparison.paired_scores import PairedScores, common, paired
from fobench.comparison.snapshot import ScoreColumn, Snapshot
from fobench.errors import FobenchError
from fobench.statistics.metric_resampling import quantile

RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """Where a stretch begins: at run `index`. `unlike`: the run before cannot be compared with it, and why."""

    index: int
    kind: Literal["change", "unlike"]
    change: MetricDelta | None = None
    why: str = ""


@dataclass(slots=True)
class Series:
    """One figure: a value a run, None where a run has none; and where it changed."""

    figure: str
    unit: str
    better: str
    values: list[float | None]
    points: list[ChangePoint] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Trend:
    """The series of every figure that at least two runs have."""

    runs: Sequence[Snapshot]
    series: Mapping[str, Series]


def trend(runs: Sequence[Snapshot], alpha: float = ALPHA, resamples: int = RESAMPLES) -> Trend:
    """The trend of `runs`, oldest first. A figure's family of tests are its steps (Bonferroni).

    Raises `FobenchError` for fewer than two runs.
    """
    if len(runs) < 2:
        raise FobenchError(f"A trend needs two runs at least, not {len(runs)}: save more baselines.")
    series = {figure: each for figure, each in _series(runs).items() if sum(v is not None for v in each.values) > 1}
    begun = dict.fromkeys(series, 0)
    for index in range(1, len(runs)):
        for first in sorted({*begun.values()}):
            own = [figure for figure in series if begun[figure] == first]
            for figure, point in _points(runs, first, index, own, alpha / (len(runs) - 1), resamples):
                series[figure].points.append(point)
                begun[figure] = index
    return Trend(runs, series)


def _points(
    runs: Sequence[Snapshot], first: int, index: int, figures: Sequence[str], alpha: float, resamples: int
) -> list[tuple[str, ChangePoint]]:
    """Those of the figures that are not at run `index` what they were at run `first`."""
    base, new = runs[first], runs[index]
    unlike = mismatches(base, new)
    pairs = {each.metric: each for each in paired(base, new)}
    told = {figure: _why(figure, unlike, pairs) for figure in figures}
    found = [
        (figure, ChangePoint(index, "unlike", why=why)) for figure, why in told.items() if why and _has(new, figure)
    ]
    alike = [
        each
        for each in pairs.values()
        if any(_metric(figure) == each.metric and not told[figure] for figure in figures)
    ]
    made = changes(alike, len(common(base, new)), resamples=resamples) if alike else []
    changed = [
        (c.figure, ChangePoint(index, "change", c))
        for c in made
        if c.figure in told and c.shown and c.changed and c.p < alpha
    ]
    return [*found, *changed]


def _why(figure: str, unlike: Sequence[Incompatibility], pairs: Mapping[str, PairedScores]) -> str:
    """Why a figure of the two runs cannot be compared; empty if it can."""
    own = pairs.get(_metric(figure))
    return "; ".join(str(each) for each in unlike if own is not None and each.spoils(own))


def _series(runs: Sequence[Snapshot]) -> dict[str, Series]:
    found: dict[str, Series] = {}
    for index, run in enumerate(runs):
        for metric, column in run.columns.items():
            for figure in [f"{metric}.{name}" for name in ("p50", "p90")] if column.spread else [metric]:
                empty: list[float | None] = [None] * len(runs)
                series = found.setdefault(figure, Series(figure, column.unit, column.better, empty))
                series.values[index] = _value(column, figure)
    return found


def _value(column: ScoreColumn, figure: str) -> float | None:
    if column.spread:
        return quantile(column.tops, SHARES[figure.rpartition(".")[2]])
    return float(column.tops.sum() / column.bottoms.sum()) if column.bottoms.sum() else None


def _has(run: Snapshot, figure: str) -> bool:
    return _metric(figure) in run.columns


def _metric(figure: str) -> str:
    return figure.partition(".")[0]
