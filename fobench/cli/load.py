"""`fobench load`: how many live conversations a system holds at once."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from fobench.api.option_ranges import SCENARIOS, SEED
from fobench.cli import stop_signals
from fobench.cli.options import NewFolder, named_args, option, whole_number
from fobench.cli.report import new_folder, remove_if_empty
from fobench.console import counted, table, visible
from fobench.errors import FobenchError, SystemFailure

if TYPE_CHECKING:
    from fobench.api.registry import ComponentSpec
    from fobench.api.scenario import Scenario
    from fobench.api.trace import Trace
    from fobench.load.load_report import LoadReport
    from fobench.process_host import ProcessHost

MOST_SESSIONS = 1_000


def _counts(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    """The numbers of a list such as 1,2,4."""
    try:
        found = tuple(int(part) for part in value.split(","))
    except ValueError:
        found = ()
    if not found or not all(1 <= count <= MOST_SESSIONS for count in found):
        raise click.BadParameter(f"{value!r} is no list of numbers from 1 to {MOST_SESSIONS:,}, e.g. 1,2,4,8.")
    return tuple(sorted(set(found)))


@click.command()
@option("--system", help="System under test; default: Freeze-Omni, with a checkpoint for the backbone or for any.")
@named_args("--system-args", "system")
@option("--backbone", help="Frozen LLM inside the system; default: the system's own.")
@option("--checkpoint", help="Weights of the system: a name (fobench ls checkpoints) or a path.")
@option("--device", help="cpu, cuda, cuda:1, ...; default: the best available.")
@option("--suite", "-s", default="spoken-qa", help="Suite of scenarios, which are taken in order and repeated.")
@named_args("--suite-args", "suite")
@option("--sessions", default="1,2,4,8", callback=_counts, help="Levels: numbers of conversations at a time.")
@option("--rounds", type=whole_number(SCENARIOS), default=4, help="Conversations per session, at each level.")
@option("--seed", type=whole_number(SEED), default=0, help="Seed of the suite.")
@option(
    "--output", "-o", type=NewFolder(), help="Folder of load.json, load.md and load.html; default: runs/<time>-load."
)
def load(
    system: str | None,
    suite: str,
    sessions: tuple[int, ...],
    rounds: int,
    seed: int,
    output: Path | None,
    suite_args: Mapping[str, Any] | None,
    system_args: Mapping[str, Any] | None,
    **options: Any,
) -> None:
    """Measure how many live conversations a system holds at once.

    Conversations take place in real time. At each level of --sessions so many are held at a time; the result is the largest
    level up to which the system kept real time. Complete levels are kept on Ctrl-C.
    """
    from itertools import islice

    from fobench.api import registry
    from fobench.load import load_report
    from fobench.storage.run_config import default_system

    name = system or default_system(options["backbone"], options["checkpoint"])
    given = {**(system_args or {}), **{key: value for key, value in options.items() if value is not None}}
    spec = registry.spec("systems", name, given)
    if output is not None:
        load_report.check_free(output)
    scenarios = list(islice(registry.create("suites", suite, suite_args).scenarios(seed), max(sessions) * rounds))
    if not scenarios:
        raise FobenchError(
            f"Suite {suite!r} has no scenario to hold: name another --suite, or change its --suite-args."
        )
    remove_if_empty(folder := output or new_folder("load"))
    report = load_report.LoadReport(name, suite, {}, False, sessions)
    with closing(_host(spec)) as host:
        try:
            _start(host, spec.name, report)
            _measure(host, scenarios, rounds, report, folder)
        except (KeyboardInterrupt, FobenchError) as error:
            _keep(report, folder, "interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            if isinstance(error, FobenchError):
                raise
            click.echo(f"\n{stop_signals.told(error)}.", err=True)
            sys.exit(stop_signals.exit_code(error))
    table(name, load_report.COLUMNS, map(load_report.row, report.levels))
    if failures := report.failures():
        table("Failures", load_report.FAILURE_COLUMNS, failures)
    click.echo(report.verdict())
    click.echo("\n".join(str(folder / file) for file in ("load.json", "load.md", "load.html")))


def _host(spec: ComponentSpec) -> ProcessHost:
    """The process of its own that the system will be in, not started."""
    from fobench.execution.system_driver import LocalDriver
    from fobench.process_host import ProcessHost

    return ProcessHost(LocalDriver, (spec,), prints=True, notes=partial(click.echo, err=True))


def _start(host: ProcessHost, name: str, report: LoadReport) -> None:
    """Loads the system, and records what it is. Raises FobenchError where it cannot be loaded."""
    click.echo(f"Loading {name} ...", err=True)
    try:
        host.start()
        report.real_time = host.call("real_time")
    except SystemFailure as error:
        raise FobenchError(f"Cannot load system {name!r}: {error}") from error


def _measure(host: ProcessHost, scenarios: Sequence[Scenario], rounds: int, report: LoadReport, folder: Path) -> None:
    """Measures one level after another, and writes the report after each. Raises FobenchError where not one conversation is held."""
    from fobench.execution.remote_driver import RemoteDriver
    from fobench.load import levels, load_report
    from fobench.process_host import Lane

    drivers = [RemoteDriver(Lane(host)) for _ in range(max(report.planned))]
    first = levels.measure(drivers[:1], scenarios[:1], 1, lambda trace: None)  # first calls are slower than all others
    if failure := first.traces[0].failure:
        raise FobenchError(f"{report.name} does not hold a single conversation: {failure.kind}: {failure.message}")
    report.about = host.call("about")  # also what a system learns of its server
    found = []
    for count in report.planned:
        click.echo(f"{count} at a time: {count * rounds} conversations ...", err=True)
        found.append(levels.measure(drivers[:count], scenarios, rounds, _tell))
        report.levels, report.largest = [level.summary() for level in found], levels.largest(found)
        report.status = "complete" if count == report.planned[-1] else "running"
        report.write(folder)
        table("", load_report.COLUMNS, [load_report.row(report.levels[-1])])


def _keep(report: LoadReport, folder: Path, status: Literal["interrupted", "failed"]) -> None:
    """Leaves a report of the levels that are complete, if there is one."""
    if report.levels:
        report.status = status
        where = report.write(folder)[0]
        click.echo(f"\n{where} keeps {counted(len(report.levels), 'level')} of {len(report.planned)}.", err=True)


def _tell(trace: Trace) -> None:
    if trace.failure:
        click.echo(visible(f"  {trace.id}: {trace.failure.kind}: {trace.failure.message}"), err=True)
