"""The pictures of a trend: a curve a figure over all runs, with marks where it changed. All places are in percent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fobench.comparison.trend import ChangePoint, Series, Trend
from fobench.console import counted
from fobench_plugins.reporters.comparison import view
from fobench_plugins.reporters.views.formatting import line, shown
from fobench_plugins.reporters.views.metric_labels import FIGURES, kind_of

EDGE = 4.0  # percent of the height or the width left free beside the outermost dots
UNLIKE = "unlike"


@dataclass(frozen=True, slots=True)
class TrendMark:
    """Where a stretch begins: at run number `run`, `x` percent; `what` happened, and which way (`kind`)."""

    run: str
    label: str
    x: float
    kind: str
    what: str


@dataclass(frozen=True, slots=True)
class TrendCurve:
    """A figure: `lines` are SVG path data (a part a stretch without a gap), `dots` (x, y, title); `low` and `high` its axis."""

    figure: str
    label: str
    means: str
    last: str
    low: str
    high: str
    lines: str
    dots: list[tuple[float, float, str]]
    marks: list[TrendMark]


def title(trend: Trend) -> str:
    return f"Trend of {counted(len(trend.runs), 'run')}"


def sentence(trend: Trend) -> str:
    """What changed lately, in one sentence."""
    found = [series for series in trend.series.values() if any(point.kind == "change" for point in series.points)]
    return f"{len(found)} of {counted(len(trend.series), 'figure')} changed beyond chance over {counted(len(trend.runs), 'run')}."


def runs(trend: Trend) -> list[tuple[str, str, str, str]]:
    """(number, name, day, commit) of each run."""
    told = (
        (run.name, run.run.get("started") or "", (run.run.get("git") or {}).get("commit") or "") for run in trend.runs
    )
    return [(str(i), line(name), line(day)[:10], line(commit)[:12]) for i, (name, day, commit) in enumerate(told, 1)]


def curves(trend: Trend) -> list[TrendCurve]:
    """Those with change points first, each part in the order of a report."""
    order = list(FIGURES)
    placed = sorted(trend.series.values(), key=lambda s: order.index(_metric(s)) if _metric(s) in order else len(order))
    return [
        _curve(series, trend) for series in sorted(placed, key=lambda s: not any(p.kind == "change" for p in s.points))
    ]


def steps(trend: Trend) -> Iterator[TrendMark]:
    """All change points, in the order of the runs."""
    found = [(p.index, _mark(p, series, trend)) for series in trend.series.values() for p in series.points]
    yield from (told for _, told in sorted(found, key=lambda pair: pair[0]) if told.kind != UNLIKE)


def _curve(series: Series, trend: Trend) -> TrendCurve:
    known = FIGURES.get(_metric(series))
    values = [value for value in series.values if value is not None]
    low, high = min(values), max(values)
    dots = [_dot(series, index, low, high, trend) for index, value in enumerate(series.values) if value is not None]
    ends = (values[-1], low, high)
    last, least, most = (shown(value, kind_of(_metric(series), series.unit), series.unit) for value in ends)
    marks = [_mark(point, series, trend) for point in series.points]
    return TrendCurve(
        series.figure,
        _label(series),
        known.means if known else "",
        last,
        least,
        most,
        _lines(series, low, high),
        dots,
        marks,
    )


def _dot(series: Series, index: int, low: float, high: float, trend: Trend) -> tuple[float, float, str]:
    value = series.values[index]
    told = shown(value, kind_of(_metric(series), series.unit), series.unit)
    return *_place(series, index, low, high), f"{index + 1}, {line(trend.runs[index].name)}: {told}"


def _lines(series: Series, low: float, high: float) -> str:
    """A line from dot to dot; broken where a run has no value, and before one that is unlike."""
    broken = {point.index for point in series.points if point.kind == UNLIKE}
    parts, drawn = [], False
    for index, value in enumerate(series.values):
        drawn = drawn and value is not None and index not in broken
        if value is not None:
            x, y = _place(series, index, low, high)
            parts.append(f"{'L' if drawn else 'M'}{x} {y}")
            drawn = True
    return "".join(parts)


def _place(series: Series, index: int, low: float, high: float) -> tuple[float, float]:
    share = ((series.values[index] or 0.0) - low) / (high - low) if high > low else 0.5
    return _x(index, len(series.values)), round(100 - EDGE - share * (100 - 2 * EDGE), 2)


def _x(index: int, count: int) -> float:
    return round(EDGE + (100 - 2 * EDGE) * index / (count - 1), 2)


def _mark(point: ChangePoint, series: Series, trend: Trend) -> TrendMark:
    run, x = str(point.index + 1), _x(point.index, len(trend.runs))
    if point.change is None:
        return TrendMark(run, _label(series), x, UNLIKE, f"cannot be compared with what was before: {line(point.why)}")
    kind = view.mark(point.change)
    return TrendMark(run, _label(series), x, kind, f"{kind}: {view.told(point.change)}")


def _label(series: Series) -> str:
    known = FIGURES.get(_metric(series))
    return f"{known.label if known else line(_metric(series))} {series.figure.partition('.')[2]}".strip()


def _metric(series: Series) -> str:
    return series.figure.partition(".")[0]
