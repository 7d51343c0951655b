"""Accuracy against response time as a picture: which choices no other beats in both."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from fobench.statistics.bootstrap import Interval

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 24, 56  # px around the plot
INK, FAINT, GOOD = "#1f2933", "#c3cad2", "#0b7285"

Place = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class ParetoPoint:
    """A choice: its accuracy (a share) and its median response, ms, each with its interval."""

    name: str
    metric: str
    accuracy: float
    accuracy_ci: Interval | None
    response_ms: float
    response_ci: Interval | None


def efficient(points: Sequence[ParetoPoint]) -> list[ParetoPoint]:
    """Those that no other is at least as good as in both, and better in one; from the fastest on."""

    def beats(one: ParetoPoint, other: ParetoPoint) -> bool:
        as_good = one.accuracy >= other.accuracy and one.response_ms <= other.response_ms
        return as_good and (one.accuracy, one.response_ms) != (other.accuracy, other.response_ms)

    kept = [point for point in points if not any(beats(other, point) for other in points)]
    return sorted(kept, key=lambda point: point.response_ms)


def svg(points: Sequence[ParetoPoint]) -> str:
    """The picture: a dot a choice with its 95 % intervals, a line through the efficient ones. At least one point."""
    longest = max((p.response_ci[1] if p.response_ci else p.response_ms) for p in points)
    span = max(longest, 1.0) * 1.05

    def x(ms: float) -> float:
        return round(LEFT + max(ms, 0.0) / span * (WIDTH - LEFT - RIGHT), 1)

    def y(share: float) -> float:
        return round(TOP + (1 - share) * (HEIGHT - TOP - BOTTOM), 1)

    best = efficient(points)
    parts = [_grid(span, x, y)]
    route = " ".join(f"{x(p.response_ms)},{y(p.accuracy)}" for p in best)
    parts.append(f'<polyline points="{route}" fill="none" stroke="{GOOD}" stroke-dasharray="4 3"/>')
    for point in points:
        colour, at = GOOD if point in best else INK, (x(point.response_ms), y(point.accuracy))
        if point.accuracy_ci:
            parts.append(_line(at[0], y(point.accuracy_ci[0]), at[0], y(point.accuracy_ci[1]), colour))
        if point.response_ci:
            parts.append(_line(x(point.response_ci[0]), at[1], x(point.response_ci[1]), at[1], colour))
        parts.append(f'<circle cx="{at[0]}" cy="{at[1]}" r="5" fill="{colour}"/>')
        late = at[0] > WIDTH / 2
        anchor, shift = ("end", -9) if late else ("start", 9)
        name = escape(point.name)
        parts.append(f'<text x="{at[0] + shift}" y="{at[1] - 8}" text-anchor="{anchor}" fill="{colour}">{name}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *parts, "</svg>", ""])


def _grid(span: float, x: Place, y: Place) -> str:
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_line(LEFT, y(share), WIDTH - RIGHT, y(share), FAINT))
        parts.append(
            f'<text x="{LEFT - 8}" y="{y(share) + 4}" text-anchor="end" fill="{INK}">{100 * share:.0f} %</text>'
        )
    step = _step(span)
    for i in range(int(span / step) + 1):
        ms = step * i
        parts.append(f'<text x="{x(ms)}" y="{HEIGHT - 32}" text-anchor="middle" fill="{INK}">{ms:,.0f} ms</text>')
    told = (
        "response, p50 (left is faster); up: more answers right by ear; bars: 95 %; dashed: what no other beats in both"
    )
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 10}" fill="{INK}" font-size="11">{told}</text>')
    return "\n".join(parts)


def _step(span: float) -> float:
    """A round number, 1, 2 or 5 times a power of ten, that goes into `span` three to eight times."""
    power: float = 10 ** math.floor(math.log10(span))
    return next(power * part for part in (0.1, 0.2, 0.5, 1, 2) if span / (power * part) <= 8)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"/>'
