"""The charts' geometry: bars with whiskers, and strips of single latencies. All places are in percent of the width."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fobench.api.results import Results
from fobench.api.types import Score
from fobench_plugins.reporters.views.formatting import (
    NONE,
    duration,
    given,
    plain,
    reason,
    score_interval,
    score_value,
    shown,
)
from fobench_plugins.reporters.views.metric_labels import ROUTES, MetricLabel

STRIP_LANES = 7  # dots of a strip are spread over so many heights
AXIS_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Bar:
    """A share as a bar from 0 to 100 %, with whiskers where there is an interval."""

    name: str
    label: str
    value: str
    interval: str
    note: str
    width: float | None = None
    low: float | None = None
    high: float | None = None


def bar(score: Score | None, name: str, label: str) -> Bar:
    """The bar of a rate; without a width where there is no value."""
    value = given(score)
    n = f"n = {score.n:,}" if score else ""
    note = reason(score) or n
    if score is None or value is None:
        return Bar(name, label, NONE, "", note)
    ends = [_percent(end) for end in score.ci] if score.ci else [None, None]
    return Bar(name, label, score_value(score), score_interval(score), note, _percent(value), *ends)


def route_bars(results: Results) -> list[Bar]:
    """Accuracy of each route that the run knows of; empty if it knows none."""
    if not any(results.total(name) for name in ROUTES):
        return []
    return [bar(results.total(name), name, figure.label) for name, figure in ROUTES.items()]


def _percent(value: float) -> float:
    return round(100 * min(max(value, 0.0), 1.0), 2)


@dataclass(frozen=True, slots=True)
class LatencyStrip:
    """One latency: a dot a scenario at (x percent, lane), and marks for p50 and p90."""

    name: str
    label: str
    means: str
    dots: list[tuple[float, int]]
    p50: tuple[float, str] | None
    p90: tuple[float, str] | None
    note: str


@dataclass(frozen=True, slots=True)
class LatencyStrips:
    """Latencies on one common axis; `zero` is where 0 ms lies, if there are values below it."""

    strips: list[LatencyStrip]
    ticks: list[tuple[float, str]]
    zero: float | None


def strips(results: Results, figures: Mapping[str, MetricLabel]) -> LatencyStrips | None:
    """The distributions of the latencies in `figures`, or None if no scenario has any."""
    values = {name: _values(results, name) for name in figures}
    everything = [v for found in values.values() for v in found]
    if not everything:
        return None
    low, high, ticks = axis(min(0.0, *everything), max(1.0, *everything))

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    made = [_strip(results.total(n), n, figures[n], values[n], place) for n in figures if values[n] or results.total(n)]
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
    """All ticks of an axis in one unit: seconds if it reaches one."""
    if not value:
        return "0"
    return f"{plain(value / 1000)} s" if last >= 1000 else f"{plain(value)} ms"


def _values(results: Results, metric: str) -> list[float]:
    found = (next((s for s in scores if s.metric == metric), None) for scores in results.scores)
    return [value for score in found if (value := given(score)) is not None]


def _strip(
    score: Score | None, name: str, figure: MetricLabel, values: list[float], place: Callable[[float], float]
) -> LatencyStrip:
    dots = [(place(value), (i * 3) % STRIP_LANES) for i, value in enumerate(sorted(values))]
    p50, p90 = given(score), score.detail.get("p90") if score else None
    marks = [(place(p), duration(p)) if isinstance(p, int | float) else None for p in (p50, p90)]
    n = f"n = {len(values):,}"
    note = n if values else reason(score)
    return LatencyStrip(name, figure.label, figure.means, dots, marks[0], marks[1], note)


@dataclass(frozen=True, slots=True)
class TagTable:
    """Accuracy by the values of one tag, a bar each; `text` is the same by text, for comparison."""

    tag: str
    rows: list[tuple[Bar, str]]


def tag_table(tag: str, spoken: Mapping[str, Score], written: Mapping[str, Score]) -> TagTable:
    rows = [(bar(score, value, value), shown(given(written.get(value)), "rate")) for value, score in spoken.items()]
    return TagTable(tag, rows)


@dataclass(frozen=True, slots=True)
class PathLink:
    """A piece of the way from text to speech: an accuracy, or what is lost (or won) on the way to the next one."""

    kind: str  # route or loss
    label: str
    value: str
    note: str


def chain(results: Results) -> list[PathLink]:
    """t2t, lost in understanding, s2t, lost in speaking, s2s; empty where no loss is known."""
    pieces = [
        ("route", "accuracy_t2t", "By text"),
        ("loss", "loss_understanding", "lost in understanding"),
        ("route", "accuracy_s2t", "Heard, written"),
        ("loss", "loss_speaking", "lost in speaking"),
        ("route", "accuracy_s2s", "Heard, spoken"),
    ]
    if all(given(results.total(name)) is None for kind, name, _ in pieces if kind == "loss"):
        return []
    return [_link(kind, label, results.total(name)) for kind, name, label in pieces]


def _link(kind: str, label: str, score: Score | None) -> PathLink:
    value = score_value(score)
    note = reason(score) or score_interval(score)
    return PathLink(kind, label, value, note)
