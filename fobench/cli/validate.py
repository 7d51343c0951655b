"""`fobench validate`: the conformance checks of a component."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from fobench.cli.options import PositiveNumber, pairs
from fobench.console import table

PROBE_LIMIT_S = 600.0


@click.command()
@click.argument("name")
@click.option("--kind", help="Kind of component, if the name is ambiguous.")
@click.option(
    "--args", "options", multiple=True, callback=pairs, metavar="NAME=VALUE", help="An option of the component."
)
@click.option(
    "--time-limit",
    type=PositiveNumber(),
    default=PROBE_LIMIT_S,
    show_default=True,
    help="Seconds that creating the component, or one check of it, may take.",
)
def validate(name: str, kind: str | None, options: Mapping[str, str], time_limit: float) -> None:
    """Run the conformance suite on a component, or on a scenario file or manifest by its path."""
    from fobench.conformance import suite

    if kind is None and Path(name).suffix in (".toml", ".jsonl") and Path(name).is_file():
        kind, name = "suites", f"manifest:{name}"
    kind = kind or suite.find_kind(name)
    checks = suite.check_in_subprocess(kind, name, options, time_limit_s=time_limit)
    table(f"{kind} {name}", ("", "check", "finding"), [("ok" if c.ok else "FAIL", c.name, c.message) for c in checks])
    if not all(check.ok for check in checks):
        sys.exit(1)
