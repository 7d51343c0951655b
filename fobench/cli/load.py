"""`fobench load`: how many live conversations a system holds at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fobench.api.option_ranges import SCENARIOS, SEED
from fobench.cli.options import NewFolder, named_args, option, whole_number
from fobench.errors import FobenchError

if TYPE_CHECKING:
    from fobench.api.trace import Trace

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
@option("--system", help="System under test; default: the one with a checkpoint for the backbone, else the cascade.")
@named_args("--system-args", "system")
@option("--backbone", help="Frozen LLM inside the system; default: the system's own.")
@option("--checkpoint", help="Weights of the system: a name (fobench ls checkpoints) or a path.")
@option("--device", help="cpu, cuda, cuda:1, ...; default: the best available.")
@option("--suite", "-s", default="spoken-qa", help="Suite whose scenarios are held, in order, again and again.")
@named_args("--suite-args", "suite")
@option("--sessions", default="1,2,4,8", callback=_counts, help="Conversations at a time: a list of levels.")
@option("--rounds", type=whole_number(SCENARIOS), default=4, help="Conversations of each session, at each level.")
@option("--seed", type=whole_number(SEED), default=0)
@option(
    "--output", "-o", type=NewFolder(), default=Path("runs/load"), help="Folder of load.json, load.md and load.html."
)
def load(
    system: str | None,
    suite: str,
    sessions: tuple[int, ...],
    rounds: int,
    seed: int,
    output: Path,
    suite_args: Mapping[str, Any] | None,
    system_args: Mapping[str, Any] | None,
    **options: Any,
) -> None:
    """Hold several live conversations at a time, and tell up to how many a system keeps real time.

    Conversations last as long as they would: the wall clock is used. Each level ends with its line of the table.
    """
    from itertools import islice

    from fobench.api import registry
    from fobench.console import table
    from fobench.execution.system_driver import checked, described
    from fobench.load import levels, load_report
    from fobench.storage.run_config import default_system

    name = system or default_system(options["backbone"], options["checkpoint"])
    given = {**(system_args or {}), **{key: value for key, value in options.items() if value is not None}}
    spec = registry.spec("systems", name, given)
    needed = max(sessions) * rounds
    scenarios = list(islice(registry.create("suites", suite, suite_args).scenarios(seed), needed))
    if not scenarios:
        raise FobenchError(f"Suite {suite!r} has no scenario.")
    click.echo(f"Loading {name} ...", err=True)
    subject = checked(name, registry.create(spec))
    levels.measure(subject, scenarios[:1], 1, 1, lambda trace: None)  # first calls are slower than all others
    found = []
    for count in sessions:
        click.echo(f"{count} at a time: {count * rounds} conversations ...", err=True)
        found.append(levels.measure(subject, scenarios, count, rounds, _tell))
        table("", load_report.COLUMNS, [load_report.row(found[-1].summary())])
    summaries, largest = [level.summary() for level in found], levels.largest(found)
    paths = load_report.write(output, name, described(subject), summaries, largest)
    table(name, load_report.COLUMNS, map(load_report.row, summaries))
    click.echo(load_report.verdict(largest, summaries))
    click.echo("\n".join(map(str, paths)))


def _tell(trace: Trace) -> None:
    if trace.failure:
        click.echo(f"  {trace.id}: {trace.failure.kind}: {trace.failure.message}", err=True)
