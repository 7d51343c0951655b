"""`fobench score` and `fobench report`, and the report functions shared with `fobench run`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fobench.api.option_ranges import MARGIN
from fobench.atomic_files import plain_name
from fobench.cli.options import ExistingPath, NewFolder, NumberIn, asserted, named_args
from fobench.console import counted, visible
from fobench.errors import FobenchError, describe_error
from fobench.progress_bars import ProgressBars

if TYPE_CHECKING:
    from fobench.api.results import Results
    from fobench.execution.run import RunTimes

REPORTERS = ("markdown", "html", "junit")
REPORTER_LIMIT_S = 600.0  # for one report by a reporter of another package
MOST_LIMITS = 5  # that are named when they are not kept
SEVERAL = ("markdown", "html")  # reporters that take several runs


@click.command()
@click.argument("folder", type=ExistingPath(file_okay=False))
@click.option(
    "--margin",
    type=NumberIn(MARGIN),
    help="Non-inferiority margin, percentage points of accuracy; default: the run's own.",
)
@click.option(
    "--compress-traces",
    is_flag=True,
    help="Compress the finished run's traces.jsonl to traces.jsonl.gz: a tenth of the size, read as before, but the run"
    " cannot be resumed.",
)
@click.option(
    "--metric",
    help="A further metric, e.g. llm_judge:MODEL: an LLM judge (an endpoint, or a local backbone) beside the string match;"
    " its verdicts stay in the run folder. Or one that takes options, e.g. cost_per_minute with prices=FILE.",
)
@named_args("--metric-args", "metric, e.g. endpoint=URL or prices=FILE")
@asserted("An absolute limit, e.g. response_ms.p90<=1200, instead of the run's own; repeatable.")
def score(
    folder: Path,
    margin: float | None,
    compress_traces: bool,
    metric: str | None,
    metric_args: dict[str, str],
    asserts: tuple[str, ...],
) -> None:
    """Score a run again from its traces, and rewrite its reports.

    No model is needed, except for a --metric that asks one.
    """
    from fobench.scoring.scorer import check_limits
    from fobench.storage.run_folder import RunFolder
    from fobench.storage.run_lock import locked

    if metric_args and not metric:
        raise FobenchError("--metric-args needs the metric that they are for: --metric llm_judge:MODEL.")
    check_limits(asserts, metric or "")
    run = RunFolder(folder)
    configured = run.read_run().get("config", {}).get("margin", 3.0)
    with locked(folder):
        if compress_traces:
            run.compress()
        complete = score_and_report(
            folder, configured if margin is None else margin, metric or "", metric_args, asserts
        )
    if not complete:
        click.get_current_context().exit(1)


@click.command()
@click.argument("folders", nargs=-1, required=True, type=ExistingPath(file_okay=False))
@click.option(
    "--reporter",
    "-r",
    "reporters",
    multiple=True,
    help="A reporter (fobench ls reporters); default: markdown, html and, for one run, junit; repeatable.",
)
@click.option(
    "--output", "-o", type=NewFolder(), help="Folder for the table of several runs; default: runs/<time>-table."
)
@click.option("--self-contained", is_flag=True, help="Put the recordings into report.html itself, up to 6 MB of them.")
@click.option("--open", "opens", is_flag=True, help="Open report.html in a browser, where there is a display.")
def report(
    folders: tuple[Path, ...], reporters: tuple[str, ...], output: Path | None, self_contained: bool, opens: bool
) -> None:
    """Rewrite a run's reports; of several runs: one table.

    The tables are also shown on the terminal. The table of several runs has a column per run.
    """
    from fobench.scoring.scorer import load_results
    from fobench.storage.run_lock import locked

    if self_contained and (len(folders) > 1 or "html" not in (reporters or REPORTERS)):
        raise FobenchError("--self-contained is for the report.html of a single run: fobench report RUN.")
    if len(folders) > 1:
        output = output or new_folder("table")
        write_several(folders, output, reporters or SEVERAL)
        if opens:
            open_report(output)
    elif output:
        raise FobenchError(
            f"--output is for the table of several runs; the reports of a single run are in its folder, {folders[0]}."
        )
    else:
        results = load_results(folders[0])
        writes = set(reporters or REPORTERS) != {"terminal"}
        with locked(folders[0]) if writes else nullcontext():  # what only shows it needs no right to write
            complete = _write(results, folders[0], reporters or REPORTERS, self_contained)
        if opens:
            open_report(folders[0])
        if not complete:
            click.get_current_context().exit(1)


def open_report(folder: Path) -> None:
    """Opens a folder's report.html in a browser; where there is no display, or in CI, says in a line where the report is."""
    page = (folder / "report.html").absolute()
    if not page.exists():
        click.echo(f"fobench: --open: there is no {visible(page)}.", err=True)
        return
    on_screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if on_screen and not os.environ.get("CI"):
        import webbrowser

        if webbrowser.open(page.as_uri()):
            return
    click.echo(f"No display to open the report on; it is {visible(page)}", err=True)


def new_folder(what: str) -> Path:
    """The default folder of a command: runs/<time>-<what>, new and its own; removed at the command's end if it stayed empty."""
    name = f"{_time()}-{plain_name(what.replace(':', '-'))}"
    for number in count(1):
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            break
    remove_if_empty(folder.parent)
    remove_if_empty(folder)
    return folder


def _time() -> str:
    from datetime import datetime

    return f"{datetime.now():%Y%m%d-%H%M%S}"


def remove_if_empty(folder: Path) -> None:
    """Removes a folder at the end of the command, unless there is something in it by then."""

    def remove() -> None:
        with suppress(OSError):
            folder.rmdir()

    click.get_current_context().call_on_close(remove)


def score_and_report(
    folder: Path,
    margin: float,
    metric: str = "",
    metric_args: Mapping[str, str] | None = None,
    asserts: Sequence[str] = (),
    times: RunTimes | None = None,
) -> bool:
    """Scores a run, also by the further `metric`, and writes its reports. What that takes is added to `times`.

    `asserts`: absolute limits instead of the run's own. Returns whether every metric and reporter did its work and every
    limit is kept; tells of those that did not.
    """
    from fobench.scoring.score_table import TABLE
    from fobench.scoring.scorer import failed_metrics, score_run

    options: dict[str, Mapping[str, Any]] = {"parity": {"margin": margin}}
    if metric:
        options[metric] = metric_args or {}
    start = time.perf_counter_ns()
    with ProgressBars(transient=True) as bars:
        bars.update("scoring", 0, 0)
        results = score_run(folder, options, metric, asserts or None)
    scored = time.perf_counter_ns()
    if not (folder / TABLE).exists():
        click.echo(
            f"fobench: {TABLE} is left out, since pyarrow is not installed: pip install 'fobench[tables]'", err=True
        )
    written = _write(results, folder, REPORTERS)
    if times is not None:
        times.scoring_ns, times.reports_ns = scored - start, time.perf_counter_ns() - scored
    failed = failed_metrics(results)
    for name, why in failed.items():
        click.echo(f"fobench: the metric {name!r} failed: {visible(why)}", err=True)
    if broken := broken_limits(results):
        click.echo(broken, err=True)
    return written and not failed and not broken


def broken_limits(results: Results) -> str:
    """A sentence about the absolute limits that a run does not keep; "" where it keeps all."""
    broken = [outcome.name for outcome in results.limits if not outcome.kept]
    listed = ", ".join(map(visible, broken[:MOST_LIMITS])) + (", ..." if len(broken) > MOST_LIMITS else "")
    return f"{len(broken)} of {counted(len(results.limits), 'limit')} not kept: {listed}" if broken else ""


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
    for name, reporter in instances.items():
        try:
            reporter.write_several(runs, output)
        except (FobenchError, OSError):
            raise
        except (Exception, SystemExit) as error:  # a plugin may raise anything; the message names the reporter
            raise FobenchError(f"The reporter {name!r} failed: {visible(describe_error(error))}.") from error


def _write(results: Any, folder: Path, reporters: Sequence[str], self_contained: bool = False) -> bool:
    """Writes the reports, one after another whatever the others do; returns whether all were written.

    A reporter of another package runs in a process of its own, with a time limit.
    """
    from fobench.api import registry
    from fobench.process_host import ProcessHost

    known = [(name, registry.is_third_party("reporters", name)) for name in (*reporters, "terminal")]
    failed = False
    for name, third_party in known:  # the terminal last: it lists the files of the others
        host = ProcessHost(registry.create, ("reporters", name), time_limit_s=REPORTER_LIMIT_S, prints=True)
        try:
            if third_party:
                host.call("write", results, folder)
            else:
                options = {"self_contained": True} if self_contained and name == "html" else None
                registry.create("reporters", name, options).write(results, folder)
        except BrokenPipeError:  # nobody reads on
            raise
        except (Exception, SystemExit) as error:  # a plugin may raise anything; the other reports are written
            if not third_party and isinstance(error, FobenchError | OSError):
                raise
            failed = True
            told = str(error) if isinstance(error, FobenchError) else describe_error(error)
            click.echo(f"fobench: the reporter {name!r} failed: {visible(told)}", err=True)
        finally:
            host.stop()
    return not failed
