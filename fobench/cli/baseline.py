"""`fobench baseline`: save, list and prune numbered baselines, and plot their trend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fobench.cli.options import ExistingPath, NewFolder, option
from fobench.console import counted, table
from fobench.errors import unknown

if TYPE_CHECKING:
    from fobench.comparison.baseline_store import BaselineStore
    from fobench.comparison.snapshot import Snapshot
STORE = "baselines"


@click.group()
def baseline() -> None:
    """Keep runs as baselines, to compare later ones with.

    A baseline is a numbered file in a folder or on a git branch.
    """


store_option = option(
    "--store",
    default=STORE,
    metavar="FOLDER|git:BRANCH",
    help="The store: a folder, or a git branch that is never checked out.",
)


@baseline.command()
@click.argument("run", type=ExistingPath(file_okay=False))
@store_option
@click.option("--name", help="Name of the baseline; default: the system's.")
def save(run: Path, store: str, name: str | None) -> None:
    """Save a scored run under the next number.

    What is saved are its scores by scenario, without audio.
    """
    from fobench.comparison.baseline_store import BaselineStore
    from fobench.comparison.snapshot import Snapshot

    entry = BaselineStore(store).save(Snapshot.of_run(run), name)
    click.echo(
        f"Saved {store}#{entry.number:04d} ({entry.file}). Compare with it: fobench compare '{store}#{entry.name}' RUN"
    )


@baseline.command("ls")
@store_option
def ls(store: str) -> None:
    """List the baselines of a store."""
    from fobench.comparison import baseline_store

    entries = baseline_store.BaselineStore(store)
    columns = ("number", "name", "commit", "date", "machine", "clock, costs", "scenarios")
    table(
        f"baselines in {store}",
        columns,
        baseline_store.table_rows((each, entries.load(each)) for each in entries.require()),
    )


@baseline.command()
@store_option
@click.option(
    "--keep", type=click.IntRange(min=1), default=10, show_default=True, help="How many of each name are kept."
)
def prune(store: str, keep: int) -> None:
    """Remove all but the newest baselines of each name."""
    from fobench.comparison.baseline_store import BaselineStore

    removed = BaselineStore(store).prune(keep)
    for each in removed:
        click.echo(f"Removed {each.file}")
    click.echo(f"{counted(len(removed), 'baseline')} removed.")


@baseline.command("trend")
@store_option
@click.option("--name", help="Only the baselines of this name.")
@click.option("--run", "runs", multiple=True, help="A run or baseline to add at the end; repeatable.")
@click.option(
    "--output", "-o", type=NewFolder(), default=Path("runs/trend"), show_default=True, help="Folder for trend.html."
)
def trend_of(store: str, name: str | None, runs: tuple[str, ...], output: Path) -> None:
    """Plot each metric over all baselines, with its change points."""
    from fobench.api import registry
    from fobench.comparison import baseline_store
    from fobench.comparison.trend import trend

    baselines = baseline_store.BaselineStore(store)
    chosen = _load_by_name(baselines, name)
    result = trend([*chosen, *(baseline_store.load(place) for place in runs)])
    for reporter in ("html", "terminal"):
        registry.create("reporters", reporter).write_trend(result, output)


def _load_by_name(store: BaselineStore, name: str | None) -> list[Snapshot]:
    entries = store.require()
    if name and name not in (names := {each.name for each in entries}):
        raise unknown(f"name of a baseline of {store.place}", name, names)
    return [store.load(each) for each in entries if name in (None, each.name)]
