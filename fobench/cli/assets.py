"""`fobench assets`: the commands around `fobench.assets`."""

from __future__ import annotations

import sys

import click

from fobench.console import table


@click.group()
def assets() -> None:
    """Model files: pinned by hash, hub first, package-index mirror second."""


@assets.command()
def ls() -> None:
    """Show every asset, its size, licence and whether it is here."""
    from fobench.assets import store

    columns = ("name", "MB", "licence", "state", "what")
    rows = [(r["name"], f"{r['size'] / 1e6:.1f}", r["licence"], r["state"], r["what"]) for r in store.ls_rows()]
    table(f"assets in {store.home()}", columns, rows)


@assets.command()
@click.argument("names", nargs=-1)
def pull(names: tuple[str, ...]) -> None:
    """Fetch assets (default: those of the default run)."""
    from fobench.assets import store

    with store.RichProgress() as progress:
        store.pull(names, progress=progress)


@assets.command()
@click.argument("names", nargs=-1)
def verify(names: tuple[str, ...]) -> None:
    """Hash the files that are here again and name those that differ."""
    from fobench.assets import store

    here = [name for name in names or store.table() if not store.missing(name)]
    problems = [problem for name in here for problem in store.verify(name)]
    for problem in problems:
        click.echo(str(problem), err=True)
    click.echo(f"{len(here)} assets verified, {len(problems)} problems.")
    if problems:
        sys.exit(1)
