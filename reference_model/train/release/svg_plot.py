"""Lines over steps as an SVG file: small panels beside each other, one colour a run, on a light or a dark page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 440, 236  # of a panel, with all that belongs to it
LEFT, RIGHT, TOP, BOTTOM = 52, 62, 30, 34  # of that, around the plot
COLUMNS = 2
LINE_HEIGHT = 20  # of the legend
LETTER, LETTER_HEIGHT = 6.4, 13  # mean width of a letter of 12 px, and what a line of them needs
TICKS = 5
STEPS = (1, 2, 2.5, 5, 10)
WIDE = 20.0  # a panel whose values span more than this factor has a logarithmic axis
COLOURS = 6

STYLE = """
svg { --page: #ffffff; --ink: #16202c; --soft: #566172; --line: #e1e5ea;
  --c0: #0b5fa5; --c1: #b34700; --c2: #00705a; --c3: #9c2a78; --c4: #6a5500; --c5: #5b6675; }
@media (prefers-color-scheme: dark) { svg { --page: #10151b; --ink: #e6ebf1; --soft: #9eabba; --line: #2a333e;
  --c0: #6db3ec; --c1: #f59b52; --c2: #4cc9a7; --c3: #ea8fce; --c4: #dcc155; --c5: #a9b5c3; } }
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; fill: var(--soft); }
.title { fill: var(--ink); font-weight: 600; font-size: 13px; }
.grid { stroke: var(--line); }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.rough { fill: none; stroke-width: 1; opacity: 0.3; }
.value { font-weight: 600; font-variant-numeric: tabular-nums; }
.tick { font-variant-numeric: tabular-nums; }
"""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Curve:
    """One run's values [(step, value)]; `rough`: as they were before smoothing, drawn faintly."""

    run: int
    points: Points
    rough: Points = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """One measure of several runs."""

    title: str
    curves: Sequence[Curve]


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to places along an axis; `ticks` are values."""

    ticks: Sequence[float]
    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        bend: Callable[[float], float] = math.log if self.logarithmic else float
        share = (bend(value) - bend(self.low)) / (bend(self.high) - bend(self.low))
        return self.start + (self.end - self.start) * share


def svg(panels: Sequence[Panel], runs: Sequence[str]) -> str:
    """The picture. `runs`: their names, for the legend of several."""
    columns = min(COLUMNS, len(panels))
    legend, head = _legend(runs, columns * WIDTH) if len(runs) > 1 else ([], 0)
    parts = [*legend]
    for number, panel in enumerate(panels):
        x, y = number % columns * WIDTH, head + number // columns * HEIGHT
        parts += [f'<g transform="translate({x} {y})">', *_panel(panel, runs), "</g>"]
    width, height = columns * WIDTH, head + math.ceil(len(panels) / columns) * HEIGHT
    shape = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    page = f'<rect width="{width}" height="{height}" fill="var(--page)"/>'
    told = escape(f"{', '.join(panel.title for panel in panels)} over steps: {', '.join(runs)}", quote=True)
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {shape} role="img" aria-label="{told}">'
    return "\n".join([opening, f"<style>{STYLE}</style>", page, *parts, "</svg>", ""])


def _legend(runs: Sequence[str], width: int) -> tuple[list[str], int]:
    """(the runs' names with their colours, in as many lines as they need; the height of it)."""
    parts, x, y = [], 16.0, 22
    for number, name in enumerate(runs):
        size = 30 + LETTER * len(name)
        if x + size > width and x > 16:
            x, y = 16.0, y + LINE_HEIGHT
        parts.append(f'<rect x="{x:.0f}" y="{y - 6}" width="14" height="3" rx="1" fill="{_colour(number)}"/>')
        parts.append(f'<text x="{x + 20:.0f}" y="{y}">{escape(name)}</text>')
        x += size
    return parts, y + LINE_HEIGHT // 2


def _panel(panel: Panel, runs: Sequence[str]) -> list[str]:
    values = [value for curve in panel.curves for _, value in curve.points]
    steps = [step for curve in panel.curves for step, _ in curve.points]
    across = linear(0.0, max(steps), LEFT, WIDTH - RIGHT)
    up = fitting(values, HEIGHT - BOTTOM, TOP)
    kind = " (log)" if up.logarithmic else ""
    parts = [f'<text class="title" x="{LEFT}" y="18">{escape(panel.title)}{kind}</text>']
    for tick in up.ticks:
        y = up(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{short(tick)}</text>')
    y = HEIGHT - BOTTOM + 17
    parts.append(f'<text class="tick" x="{WIDTH - RIGHT + 14}" y="{y}">steps</text>')
    for tick in across.ticks:
        x = across(tick)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{y}" text-anchor="middle">{short(tick)}</text>')
    for curve in panel.curves:
        if curve.rough:
            parts.append(_path(curve.rough, across, up, "rough", curve.run, ""))
        parts.append(_path(curve.points, across, up, "line", curve.run, runs[curve.run]))
    return parts + _ends(panel.curves, across, up)


def _path(points: Points, across: Scale, up: Scale, kind: str, run: int, told: str) -> str:
    """A line; a dot where there is only one point."""
    places = [(across(x), min(max(up(max(y, up.low)), TOP), HEIGHT - BOTTOM)) for x, y in points]
    if len(places) == 1:
        return f'<circle cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="3" fill="{_colour(run)}"/>'
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    title = f"<title>{escape(told)}</title>" if told else ""
    return f'<polyline class="{kind}" stroke="{_colour(run)}" points="{line}">{title}</polyline>'


def _ends(curves: Sequence[Curve], across: Scale, up: Scale) -> list[str]:
    """Every curve's last value behind its end, moved apart where they would overlap."""
    ends = sorted(((up(max(c.points[-1][1], up.low)) + 4, c) for c in curves), key=lambda pair: pair[0])
    places: list[float] = []
    for y, _ in ends:
        places.append(max(y, places[-1] + LETTER_HEIGHT) if places else y)
    low = HEIGHT - BOTTOM + 4.0
    for number in reversed(range(len(places))):  # none below the axis
        places[number] = low = min(places[number], low)
        low -= LETTER_HEIGHT
    return [
        f'<text class="value" x="{across(curve.points[-1][0]) + 6:.1f}" y="{y:.1f}" style="fill: {_colour(curve.run)}">'
        f"{curve.points[-1][1]:.3g}</text>"
        for y, (_, curve) in zip(places, ends, strict=True)
    ]


def fitting(values: Sequence[float], start: float, end: float) -> Scale:
    """A scale from 0 or a round number up; logarithmic where the values span many times themselves."""
    low, high = min(values), max(values)
    if low > 0 and high / low > WIDE:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        marks = [m * 10.0**power for power in range(first, last + 1) for m in ((1, 2, 5) if last - first < 3 else (1,))]
        bounds = max((m for m in marks if m <= low), default=marks[0]), min(m for m in marks if m >= high)
        return Scale([m for m in marks if bounds[0] <= m <= bounds[1]], *bounds, start, end, logarithmic=True)
    return linear(0.0 if 0 <= low < high / 2 else low, high, start, end, rounded=True)


def linear(low: float, high: float, start: float, end: float, rounded: bool = False) -> Scale:
    """A scale with a few round ticks; `rounded`: from the tick below `low` to the one above `high`."""
    high = high if high > low else low + (abs(low) or 1.0)
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in STEPS if s * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [i * step for i in range(first, last + 1)]
    if rounded:
        return Scale(ticks, ticks[0], ticks[-1], start, end)
    return Scale([t for t in ticks if low <= t <= high], low, high, start, end)


def short(value: float) -> str:
    """A tick's number: 12000 -> "12k"."""
    if abs(value) >= 1000:
        return f"{value / 1000:.6g}k"
    return f"{value:.4g}"


def _colour(run: int) -> str:
    return f"var(--c{run % COLOURS})"
