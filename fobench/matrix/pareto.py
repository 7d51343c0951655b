"""The Pareto front of accuracy and response latency, and its plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fobench import plotting
from fobench.statistics.bootstrap import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_PX, HEIGHT_PX = 720, 440


@dataclass(frozen=True, slots=True)
class ParetoPoint:
    """A run: its accuracy (a share) and its median response latency (ms), each with its 95 % interval."""

    name: str
    metric: str
    accuracy: float
    accuracy_ci: Interval | None
    response_ms: float
    response_ci: Interval | None


def efficient(points: Sequence[ParetoPoint]) -> list[ParetoPoint]:
    """The points on the Pareto front, fastest first: no other is at least as good in both and better in one."""

    def beats(one: ParetoPoint, other: ParetoPoint) -> bool:
        as_good = one.accuracy >= other.accuracy and one.response_ms <= other.response_ms
        return as_good and (one.accuracy, one.response_ms) != (other.accuracy, other.response_ms)

    kept = [point for point in points if not any(beats(other, point) for other in points)]
    return sorted(kept, key=lambda point: point.response_ms)


def svg(points: Sequence[ParetoPoint]) -> str:
    """The plot as SVG text: a dot with its 95 % intervals for each of `points` (at least one), a line along the front.

    Raises PrerequisiteError where matplotlib is not installed.
    """
    front = efficient(points)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        route = [(point.response_ms, 100 * point.accuracy) for point in front]
        axes.plot(
            *zip(*route, strict=True), linestyle="--", linewidth=1, color=plotting.GRAY, label="Pareto front", zorder=1
        )
        for number, point in enumerate(points):
            axes.errorbar(
                point.response_ms,
                100 * point.accuracy,
                xerr=_around(point.response_ms, point.response_ci),
                yerr=_around(100 * point.accuracy, point.accuracy_ci, 100),
                fmt="o" if point in front else "s",
                markerfacecolor=None if point in front else "white",
                color=plotting.COLORS[number % len(plotting.COLORS)],
                capsize=3,
                label=point.name,
            )
        axes.set_xlim(left=0)
        axes.set_ylim(0, 100)
        axes.set_xlabel("response latency, median (ms); left is faster")
        axes.set_ylabel(f"{', '.join(dict.fromkeys(point.metric for point in points))} (%)")
        axes.set_title("Accuracy against response latency (bars: 95 % intervals)")
        figure.legend(loc="outside lower left", ncols=2)

    names = ", ".join(point.name for point in points)
    return plotting.svg(draw, WIDTH_PX, HEIGHT_PX, f"Accuracy against response latency: {names}")


def _around(value: float, interval: Interval | None, scale: float = 1) -> list[list[float]] | None:
    """Distances [2, 1] from `value` down and up to the ends of its interval, as matplotlib's error bars take them."""
    return interval and [[max(0.0, value - scale * interval[0])], [max(0.0, scale * interval[1] - value)]]
