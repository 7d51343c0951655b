"""`fobench score` and `fobench report`, and the report functions shared with `fobench run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fobench.cli.options import NewFolder, PositiveNumber
from fobench.errors import FobenchError

REPORTERS = ("markdown", "html", "junit")
SEVERAL = ("markdown", "html")  # reporters that take several runs


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--margin",
    type=PositiveNumber(),
    help="Non-inferiority margin, percentage points of accuracy; default: the run's own.",
)
@click.option(
    "--compress-traces",
    is_flag=True,
    help="Compress the finished run's traces.jsonl to traces.jsonl.gz: a tenth of the size, read as before, but the run"
    " cannot be resumed.",
)
def score(folder: Path, margin: float | None, compress_traces: bool) -> None:
    """Score a run again from its traces alone (no model is needed) and write its reports again."""
    from fobench.storage.run_folder import RunFolder

    run = RunFolder(folder)
    configured = run.read_run().get("config", {}).get("margin", 3.0)
    if compress_traces:
        run.compress()
    score_and_report(folder, configured if margin is None else margin)


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--reporter", "-r", "reporters", multiple=True, help="fobench ls reporters; default: all that write files."
)
@click.option(
    "--output", "-o", type=NewFolder(), help="Folder for the table of several runs; default: runs/<time>-table."
)
def report(folders: tuple[Path, ...], reporters: tuple[str, ...], output: Path | None) -> None:
    """Write a scored run's reports again and show its tables. For several runs: one table with a column per run."""
    from fobench.scoring.scorer import load_results

    if len(folders) > 1:
        write_several(folders, output or new_folder("table"), reporters or SEVERAL)
    elif output:
        raise FobenchError(
            f"--output is for the table of several runs; the reports of a single run are in its folder, {folders[0]}."
        )
    else:
        _write(load_results(folders[0]), folders[0], reporters or REPORTERS)


def new_folder(what: str) -> Path:
    """The default folder of a run or a table: runs/<time>-<what>."""
    from datetime import datetime

    return Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{what.replace(':', '-')}"


def score_and_report(folder: Path, margin: float) -> None:
    """Scores a run and writes its reports."""
    from fobench.scoring.scorer import score_run

    _write(score_run(folder, {"parity": {"margin": margin}}), folder, REPORTERS)


def write_several(folders: Sequence[Path], output: Path, reporters: Sequence[str] = SEVERAL) -> None:
    """Writes one table of several scored runs. Raises `FobenchError` for a duplicate run, or a reporter of single runs."""
    from fobench.api import registry
    from fobench.api.components import MultiRunReporter
    from fobench.scoring.scorer import load_results

    if len({folder.resolve() for folder in folders}) < len(folders):
        raise FobenchError(f"A run is given twice: {', '.join(map(str, folders))}.")
    if (output / "run.json").exists():
        raise FobenchError(f"{output} holds a run with its own report: choose another --output.")
    runs = [load_results(folder) for folder in folders]
    instances = {name: registry.create("reporters", name) for name in (*reporters, "terminal")}
    for name, reporter in instances.items():
        if not isinstance(reporter, MultiRunReporter):
            raise FobenchError(
                f"Reporter {name!r} shows one run at a time. Those that take several: {', '.join(SEVERAL)}."
            )
    for reporter in instances.values():
        reporter.write_several(runs, output)


def _write(results: Any, folder: Path, reporters: Sequence[str]) -> None:
    from fobench.api import registry

    for name in (*reporters, "terminal"):  # the terminal last: it lists the files of the others
        registry.create("reporters", name).write(results, folder)
