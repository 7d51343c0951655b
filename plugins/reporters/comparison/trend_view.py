"""What a trend shows in every format: its title, its runs, and the points at which a metric changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fobench.comparison.trend import ChangePoint, Series, Trend
from fobench.console import counted
from fobench.formatting import one_line
from fobench_plugins.reporters.comparison import view
from fobench_plugins.reporters.views.metric_labels import METRICS

INCOMPATIBLE = "unlike"  # the kind of a change point between runs that cannot be compared


@dataclass(frozen=True, slots=True)
class ChangePointText:
    """A change point in words: at run number `run`, counted from 1; `kind`: better, worse, changed or "unlike"."""

    run: int
    label: str
    kind: str
    description: str


def title(trend: Trend) -> str:
    return f"Trend of {counted(len(trend.runs), 'run')}"


def summary(trend: Trend) -> str:
    """How many metrics changed, in one sentence."""
    changed = sum(any(point.kind == "change" for point in series.points) for series in trend.series.values())
    metrics, runs = counted(len(trend.series), "metric"), counted(len(trend.runs), "run")
    return f"{changed} of {metrics} changed significantly over {runs}."


def run_rows(trend: Trend) -> list[tuple[str, str, str, str]]:
    """(number, name, day, commit) of each run."""
    facts = (
        (run.name, run.run.get("started") or "", (run.run.get("git") or {}).get("commit") or "") for run in trend.runs
    )
    return [
        (str(i), one_line(name), one_line(day)[:10], one_line(commit)[:12])
        for i, (name, day, commit) in enumerate(facts, 1)
    ]


def change_points(trend: Trend) -> Iterator[ChangePointText]:
    """All significant changes, in the order of the runs."""
    points = [(point, series) for series in trend.series.values() for point in series.points]
    for point, series in sorted(points, key=lambda pair: pair[0].index):
        if point.kind != INCOMPATIBLE:
            yield change_point(point, series)


def change_point(point: ChangePoint, series: Series) -> ChangePointText:
    if point.change is None:
        description = f"not comparable with the runs before: {one_line(point.why)}"
        return ChangePointText(point.index + 1, label(series), INCOMPATIBLE, description)
    kind = view.direction(point.change)
    return ChangePointText(point.index + 1, label(series), kind, f"{kind}: {view.change_text(point.change)}")


def label(series: Series) -> str:
    known = METRICS.get(metric_of(series))
    name = known.label if known else one_line(metric_of(series))
    return f"{name} {series.figure.partition('.')[2]}".strip()


def metric_of(series: Series) -> str:
    """The metric of a series, without its percentile."""
    return series.figure.partition(".")[0]
