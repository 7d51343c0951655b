"""The charts of a trend: a curve per metric over all runs, with marks where it changed. All positions are in percent."""

from __future__ import annotations

from dataclasses import dataclass

from fobench.comparison.trend import Series, Trend
from fobench.formatting import one_line
from fobench_plugins.reporters.comparison.trend_view import INCOMPATIBLE, change_point, label, metric_of
from fobench_plugins.reporters.views.formatting import metric_value
from fobench_plugins.reporters.views.metric_labels import METRICS, kind_of

EDGE = 4.0  # percent of the height or the width left free beside the outermost dots


@dataclass(frozen=True, slots=True)
class TrendMark:
    """A change point at `x` percent of the width."""

    run: int
    x: float
    kind: str
    description: str


@dataclass(frozen=True, slots=True)
class TrendCurve:
    """A metric: `lines` is SVG path data, `dots` are (x, y, title); `low` and `high` label its axis."""

    figure: str
    label: str
    means: str
    last: str
    low: str
    high: str
    lines: str
    dots: list[tuple[float, float, str]]
    marks: list[TrendMark]


def curves(trend: Trend) -> list[TrendCurve]:
    """Metrics with change points first, each part in the order of a report."""
    order = list(METRICS)

    def rank(series: Series) -> tuple[bool, int]:
        metric = metric_of(series)
        changed = any(point.kind == "change" for point in series.points)
        return not changed, order.index(metric) if metric in order else len(order)

    return [_curve(series, trend) for series in sorted(trend.series.values(), key=rank)]


def _curve(series: Series, trend: Trend) -> TrendCurve:
    known = METRICS.get(metric_of(series))
    values = [value for value in series.values if value is not None]
    low, high = min(values), max(values)
    dots = [_dot(series, index, low, high, trend) for index, value in enumerate(series.values) if value is not None]
    last, lowest, highest = (_text(value, series) for value in (values[-1], low, high))
    points = ((point.index, change_point(point, series)) for point in series.points)
    marks = [TrendMark(text.run, _x(i, len(trend.runs)), text.kind, text.description) for i, text in points]
    return TrendCurve(
        series.figure,
        label(series),
        known.means if known else "",
        last,
        lowest,
        highest,
        _lines(series, low, high),
        dots,
        marks,
    )


def _text(value: float | None, series: Series) -> str:
    return metric_value(value, kind_of(metric_of(series), series.unit), series.unit)


def _dot(series: Series, index: int, low: float, high: float, trend: Trend) -> tuple[float, float, str]:
    title = f"{index + 1}, {one_line(trend.runs[index].name)}: {_text(series.values[index], series)}"
    return *_position(series, index, low, high), title


def _lines(series: Series, low: float, high: float) -> str:
    """A line from dot to dot; it breaks where a run has no value, and before a run that is not comparable."""
    breaks = {point.index for point in series.points if point.kind == INCOMPATIBLE}
    parts, drawing = [], False
    for index, value in enumerate(series.values):
        drawing = drawing and value is not None and index not in breaks
        if value is not None:
            x, y = _position(series, index, low, high)
            parts.append(f"{'L' if drawing else 'M'}{x} {y}")
            drawing = True
    return "".join(parts)


def _position(series: Series, index: int, low: float, high: float) -> tuple[float, float]:
    share = ((series.values[index] or 0.0) - low) / (high - low) if high > low else 0.5
    return _x(index, len(series.values)), round(100 - EDGE - share * (100 - 2 * EDGE), 2)


def _x(index: int, count: int) -> float:
    return round(EDGE + (100 - 2 * EDGE) * index / (count - 1), 2)
