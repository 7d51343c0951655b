"""Learning curves: losses and validation scores over steps, of one or several training runs in one plot (SVG).

fobench train curves runs/train/input-1 --out curves.svg
fobench train curves near=runs/train/input-1 free=runs/train/input-1-free --out ablation.svg
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fobench import plotting
from fobench.atomic_files import write_text
from fobench.errors import FobenchError, unknown
from reference_model.train.engine import training_log
from reference_model.train.engine.command import StageCommand

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VALID = "valid_"  # prefix of validation scores
MAX_POINTS = 300  # per curve
SMOOTHING_WINDOWS = 60  # a smoothing window is a curve's length divided by this
COLUMNS = 2
WIDTH_PX, PANEL_HEIGHT_PX, LEGEND_LINE_PX = 720, 240, 20
LOG_AXIS_FROM = 20.0  # a panel whose values span more than this factor has a logarithmic axis
UNITS = {"loss": "loss", "wer": "errors per word", "kl": "nats", "ms": "ms"}  # by a word in the name of the value
SHARE = "share (0 to 1)"  # the unit of other scores with all values in this range

Log = dict[str, list[tuple[int, float]]]
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Curve:
    """The points (step, value) of one run; `raw`: before smoothing, drawn faintly. `run`: index of the run."""

    run: int
    points: Points
    raw: Points = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """One value of several runs. `unit`: the label of the axis."""

    title: str
    curves: Sequence[Curve]
    unit: str = ""


def panels(logs: Sequence[Log], names: Sequence[str] = ()) -> list[Panel]:
    """Returns a panel for each of `names`, values in the logs; by default for the loss and every validation score.

    Raises FobenchError for a name that no log has.
    """
    known = list(dict.fromkeys(name for log in logs for name in log))
    if missing := next((name for name in names if name not in known), None):
        raise unknown("value in the log", missing, known)
    chosen = list(names) or [name for name in known if name == "loss" or name.startswith(VALID)]
    return [Panel(title(name), curves, unit(name, curves)) for name in chosen if (curves := _curves(logs, name))]


def title(name: str) -> str:
    """Returns the title of a value, e.g. "validation: wer unseen voice" for "valid_wer_unseen_voice"."""
    kind = "validation: " if name.startswith(VALID) else ""
    return kind + name.removeprefix(VALID).replace("_", " ")


def unit(name: str, curves: Sequence[Curve]) -> str:
    """Returns the unit of a value: by its name, else a share if all values lie in [0, 1], else an empty string."""
    by_name = next((UNITS[word] for word in name.split("_") if word in UNITS), "")
    return by_name or (SHARE if all(0 <= value <= 1 for curve in curves for _, value in curve.points) else "")


def _curves(logs: Sequence[Log], name: str) -> list[Curve]:
    """Returns the curve of each run that has the value; curves with many points are smoothed."""
    curves = []
    for run, log in enumerate(logs):
        points = [(step, value) for step, value in log.get(name, []) if math.isfinite(value)]
        if not points:
            continue
        smoothed = smooth(points)
        raw = thin(points) if len(logs) == 1 and smoothed != points else ()
        curves.append(Curve(run, thin(smoothed), raw))
    return curves


def smooth(points: Points) -> Points:
    """Returns running medians over a sixtieth of the curve, or the points unchanged if there are few."""
    half = len(points) // (2 * SMOOTHING_WINDOWS)
    if not half:
        return points
    values = [value for _, value in points]
    return [(step, statistics.median(values[max(0, i - half) : i + half + 1])) for i, (step, _) in enumerate(points)]


def thin(points: Points) -> Points:
    """Returns at most about MAX_POINTS points, evenly spaced, including the last one."""
    stride = max(1, math.ceil(len(points) / MAX_POINTS))
    return [*points[:-1:stride], points[-1]]


def svg(panels: Sequence[Panel], runs: Sequence[str]) -> str:
    """Returns the plot as SVG text: panels in a grid, one color per run. `runs`: their names, for the legend.

    Raises PrerequisiteError where matplotlib is not installed.
    """
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False).flat
        for axes in grid[len(panels) :]:
            axes.remove()
        for axes, panel in zip(grid, panels, strict=False):
            _draw_panel(axes, panel, runs)
        lines = {str(line.get_label()): line for axes in figure.axes for line in axes.lines if line.get_label() in runs}
        figure.legend(list(lines.values()), list(lines), loc="outside upper left", ncols=COLUMNS)

    height = rows * PANEL_HEIGHT_PX + LEGEND_LINE_PX * math.ceil(len(runs) / COLUMNS)
    description = f"{', '.join(panel.title for panel in panels)} over training steps: {', '.join(runs)}"
    return plotting.svg(draw, WIDTH_PX * columns / COLUMNS, height, description)


def _draw_panel(axes: Axes, panel: Panel, runs: Sequence[str]) -> None:
    """Draws the curves of a panel and sets its axes."""
    for curve in panel.curves:
        color = plotting.COLORS[curve.run % len(plotting.COLORS)]
        if curve.raw:
            axes.plot(*zip(*curve.raw, strict=True), color=color, linewidth=0.75, alpha=0.3)
        marker = "o" if len(curve.points) == 1 else None
        axes.plot(*zip(*curve.points, strict=True), color=color, marker=marker, label=runs[curve.run])
        if len(panel.curves) == 1:
            last = curve.points[-1]
            axes.annotate(f"{last[1]:.3g}", last, (5, 0), textcoords="offset points", va="center", color=color)
    values = [value for curve in panel.curves for _, value in curve.points]
    if min(values) > 0 and max(values) / min(values) > LOG_AXIS_FROM:
        axes.set_yscale("log")
        axes.set_ylim(min(values) * 0.9, max(values) * 1.1)
    elif min(values) >= 0 and min(values) < max(values) / 2:
        axes.set_ylim(0, max(values) * 1.05)
    axes.set_xlim(left=0)
    axes.set_title(panel.title)
    axes.set_xlabel("training step")
    axes.set_ylabel(panel.unit)


def parse_run(argument: str) -> tuple[str, Path]:
    """Parses NAME=FOLDER, or FOLDER, whose last part is then the name."""
    name, equals, folder = argument.partition("=")
    return (name, Path(folder)) if equals else (Path(argument).name, Path(argument))


@click.command(cls=StageCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folders", nargs=-1, required=True, metavar="[NAME=]FOLDER...")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The plot, .svg.")
@click.option(
    "--value",
    "names",
    multiple=True,
    help="Name of a value in the log; repeatable.  [default: loss and validation scores]",
)
def main(folders: Sequence[str], out: Path, names: Sequence[str]) -> None:
    """Draws learning curves: losses and validation scores over steps, of one or several training runs in one plot.

    FOLDER is the --out folder of a training run; NAME is its name in the legend.
    """
    if out.suffix != ".svg":
        raise FobenchError(f"--out {out}: the plot is an SVG file; its name must end in .svg.")
    runs = [parse_run(argument) for argument in folders]
    plot_panels = panels([training_log.read(folder) for _, folder in runs], names)
    if not plot_panels:
        raise FobenchError(f"There are no values to draw yet in {', '.join(str(folder) for _, folder in runs)}.")
    write_text(out, svg(plot_panels, [name for name, _ in runs]), parents=True)
    click.echo(f"{out}: {len(plot_panels)} panels, {len(runs)} runs")


if __name__ == "__main__":
    main()
