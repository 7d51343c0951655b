"""The geometry of the charts: bars with whiskers and strips of single latencies. All positions are in percent of the width."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fobench.api.results import Results
from fobench.api.types import Score
from fobench.formatting import DASH, compact, duration
from fobench_plugins.reporters.views.formatting import (
    finite_value,
    metric_value,
    missing_reason,
    score_interval,
    score_value,
)
from fobench_plugins.reporters.views.metric_labels import ROUTES, MetricLabel
from fobench_plugins.reporters.views.tag_breakdown import TagTable, tag_tables

MOST_DOTS = 600  # of a strip; of more values, these are quantiles
STRIP_LANES = 7  # number of heights that the dots of a strip alternate between
AXIS_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Bar:
    """A rate as a bar from 0 to 100 %, with whiskers for its interval."""

    name: str
    label: str
    value: str
    interval: str
    note: str
    width: float | None = None
    low: float | None = None
    high: float | None = None


def bar(score: Score | None, name: str, label: str) -> Bar:
    """The bar of a rate; a missing value has no width."""
    value = finite_value(score)
    n = f"n = {score.n:,}" if score else ""
    note = missing_reason(score) or n
    if score is None or value is None:
        return Bar(name, label, DASH, "", note)
    ends = [_percent(end) for end in score.ci] if score.ci else [None, None]
    return Bar(name, label, score_value(score), score_interval(score), note, _percent(value), *ends)


def route_bars(results: Results) -> list[Bar]:
    """The accuracy of each route; empty if the run has none."""
    if not any(results.total(name) for name in ROUTES):
        return []
    return [bar(results.total(name), name, metric.label) for name, metric in ROUTES.items()]


def _percent(value: float) -> float:
    return round(100 * min(max(value, 0.0), 1.0), 2)


@dataclass(frozen=True, slots=True)
class LatencyStrip:
    """A latency: a dot per scenario at (x percent, lane), and marks for p50 and p90."""

    name: str
    label: str
    means: str
    dots: list[tuple[float, int]]
    p50: tuple[float, str] | None
    p90: tuple[float, str] | None
    note: str


@dataclass(frozen=True, slots=True)
class LatencyStrips:
    """Latencies on a common axis; `zero` is the position of 0 ms if there are negative values."""

    strips: list[LatencyStrip]
    ticks: list[tuple[float, str]]
    zero: float | None


def latency_strips(results: Results, metrics: Mapping[str, MetricLabel]) -> LatencyStrips | None:
    """The distributions of the latencies in `metrics`, or None if no scenario has any."""
    values = {name: _values(results, name) for name in metrics}
    everything = [v for found in values.values() for v in found]
    if not everything:
        return None
    low, high, ticks = axis(min(0.0, *everything), max(1.0, *everything))

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    made = [_strip(results.total(n), n, metrics[n], values[n], place) for n in metrics if values[n] or results.total(n)]
    return LatencyStrips(
        made, [(place(tick), _tick(tick, ticks[-1])) for tick in ticks], place(0.0) if low < 0 else None
    )


def axis(low: float, high: float) -> tuple[float, float, list[float]]:
    """(start, end, ticks) of an axis over low..high: round steps, at most 6 ticks."""
    rough = (high - low) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(s * power for s in AXIS_STEPS if s * power >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step - 1e-9)
    ticks = [i * step for i in range(first, last + 1)]
    return ticks[0], ticks[-1], ticks


def _tick(value: float, last: float) -> str:
    """A tick label; all ticks of an axis have one unit, seconds if the axis reaches 1 s."""
    if not value:
        return "0"
    return f"{compact(value / 1000)} s" if last >= 1000 else f"{compact(value)} ms"


def _values(results: Results, metric: str) -> list[float]:
    found = (next((s for s in scores if s.metric == metric), None) for scores in results.scores)
    return [value for score in found if (value := finite_value(score)) is not None]


def _strip(
    score: Score | None, name: str, metric: MetricLabel, values: list[float], place: Callable[[float], float]
) -> LatencyStrip:
    dots = [(place(value), (i * 3) % STRIP_LANES) for i, value in enumerate(_thinned(sorted(values)))]
    p50, p90 = finite_value(score), score.detail.get("p90") if score else None
    marks = [(place(p), duration(p)) if isinstance(p, int | float) else None for p in (p50, p90)]
    early = sum(value < 0 for value in values) if score and "unanswered" in score.detail else 0
    n = f"n = {len(values):,}" + (f", {early:,} early" if early else "")
    note = n if values else missing_reason(score)
    return LatencyStrip(name, metric.label, metric.means, dots, marks[0], marks[1], note)


def _thinned(values: Sequence[float]) -> Sequence[float]:
    """At most `MOST_DOTS` of the sorted values: equal ranks apart, with the first and the last."""
    if len(values) <= MOST_DOTS:
        return values
    return [values[i * (len(values) - 1) // (MOST_DOTS - 1)] for i in range(MOST_DOTS)]


@dataclass(frozen=True, slots=True)
class TagChart:
    """Accuracy by the values of one tag: a bar and its text-in counterpart per value."""

    tag: str
    rows: list[tuple[Bar, str]]


def tag_charts(results: Results) -> list[TagChart]:
    return [TagChart(table.tag, _tag_rows(table)) for table in tag_tables(results)]


def _tag_rows(table: TagTable) -> list[tuple[Bar, str]]:
    return [
        (bar(score, value, value), metric_value(finite_value(table.text.get(value)), "rate"))
        for value, score in table.speech.items()
    ]


@dataclass(frozen=True, slots=True)
class PathLink:
    """A step from text to speech: a route's accuracy, or the loss before the next route."""

    kind: str  # route or loss
    label: str
    value: str
    note: str


def accuracy_chain(results: Results) -> list[PathLink]:
    """Accuracy of t2t, s2t and s2s with the losses between them; empty if no loss is known."""
    pieces = [
        ("route", "accuracy_t2t", "Text in, text out"),
        ("loss", "loss_understanding", "speech understanding loss"),
        ("route", "accuracy_s2t", "Speech in, text out"),
        ("loss", "loss_speaking", "speech generation loss"),
        ("route", "accuracy_s2s", "Speech in, speech out"),
    ]
    if all(finite_value(results.total(name)) is None for kind, name, _ in pieces if kind == "loss"):
        return []
    return [_link(kind, label, results.total(name)) for kind, name, label in pieces]


def _link(kind: str, label: str, score: Score | None) -> PathLink:
    value = score_value(score)
    note = missing_reason(score) or score_interval(score)
    return PathLink(kind, label, value, note)
