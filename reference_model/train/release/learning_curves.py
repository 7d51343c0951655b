"""Learning curves: losses and validation scores over steps, of one training or of several in one picture (SVG).

python -m reference_model.train.release.learning_curves runs/train/input-1 --out curves.svg
python -m reference_model.train.release.learning_curves near=runs/train/input-1 free=runs/train/input-1-free --out ablation.svg
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import click

from fobench.errors import FobenchError, unknown
from reference_model.train.engine import training_log
from reference_model.train.engine.command import StageCommand
from reference_model.train.release.svg_plot import Curve, Panel, Points, svg

VALID = "valid_"  # begins a validation score's name
MOST = 300  # points of a line
SMOOTH = 60  # a smooth line has at least so many points to a width
Log = dict[str, list[tuple[int, float]]]


def panels(logs: Sequence[Log], names: Sequence[str] = ()) -> list[Panel]:
    """A panel for each of `names`, columns of the logs; without any, for the loss and every validation score.

    Raises FobenchError for a name that no log has.
    """
    known = list(dict.fromkeys(name for log in logs for name in log))
    if missing := next((name for name in names if name not in known), None):
        raise unknown("value in the log", missing, known)
    chosen = list(names) or [name for name in known if name == "loss" or name.startswith(VALID)]
    return [Panel(title(name), curves) for name in chosen if (curves := _curves(logs, name))]


def title(name: str) -> str:
    """ "valid_wer_unseen_voice" -> "validation: wer unseen voice"."""
    kind = "validation: " if name.startswith(VALID) else ""
    return kind + name.removeprefix(VALID).replace("_", " ")


def _curves(logs: Sequence[Log], name: str) -> list[Curve]:
    """One of each run that has the value; what is measured at every step is smoothed."""
    found = []
    for run, log in enumerate(logs):
        points = [(step, value) for step, value in log.get(name, []) if math.isfinite(value)]
        if not points:
            continue
        smoothed = smooth(points)
        rough = thinned(points) if len(logs) == 1 and smoothed != points else ()
        found.append(Curve(run, thinned(smoothed), rough))
    return found


def smooth(points: Points) -> Points:
    """Medians of windows as wide as a sixtieth of it all; as it is where there are few points."""
    half = len(points) // (2 * SMOOTH)
    if not half:
        return points
    values = [value for _, value in points]
    return [(step, statistics.median(values[max(0, i - half) : i + half + 1])) for i, (step, _) in enumerate(points)]


def thinned(points: Points) -> Points:
    """At most about MOST of them, evenly spread, the last among them."""
    stride = max(1, math.ceil(len(points) / MOST))
    return [*points[:-1:stride], points[-1]]


def named(argument: str) -> tuple[str, Path]:
    """NAME=FOLDER, or a folder that is its own name."""
    name, equals, folder = argument.partition("=")
    return (name, Path(folder)) if equals else (Path(argument).name, Path(argument))


@click.command(cls=StageCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folders", nargs=-1, required=True, metavar="[NAME=]FOLDER...")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The picture, .svg.")
@click.option("--value", "names", multiple=True, help="Column of the log; repeatable.  [default: loss and scores]")
def main(folders: Sequence[str], out: Path, names: Sequence[str]) -> None:
    """Draws learning curves: losses and validation scores over steps, of one training or of several in one picture.

    FOLDER is the --out of a training; NAME stands for it in the picture.
    """
    if out.suffix != ".svg":
        raise FobenchError(f"--out {out}: the picture is an SVG file; give it a name that ends in .svg.")
    runs = [named(argument) for argument in folders]
    drawn = panels([training_log.read(folder) for _, folder in runs], names)
    if not drawn:
        raise FobenchError(f"There is nothing to draw yet in {', '.join(str(folder) for _, folder in runs)}.")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(svg(drawn, [name for name, _ in runs]), encoding="utf-8")
    click.echo(f"{out}: {len(drawn)} panels, {len(runs)} runs")


if __name__ == "__main__":
    main()
