"""`fobench validate`: the conformance checks of a component."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from fobench.api import registry
from fobench.api.option_ranges import STEP_S
from fobench.cli.options import NumberIn, pairs
from fobench.console import table
from fobench.errors import FobenchError

PROBE_LIMIT_S = 600.0


@click.command()
@click.argument("name")
@click.option("--kind", help="Kind of component, if the name is ambiguous.")
@click.option(
    "--args", "options", multiple=True, callback=pairs, metavar="NAME=VALUE", help="An option of the component."
)
@click.option(
    "--time-limit",
    type=NumberIn(STEP_S),
    default=PROBE_LIMIT_S,
    show_default=True,
    help="Seconds that creating the component, or one check of it, may take.",
)
def validate(name: str, kind: str | None, options: Mapping[str, str], time_limit: float) -> None:
    """Run the conformance suite on a component, or on a scenario file, manifest or folder of recordings by its path."""
    from fobench.conformance import suite

    try:
        if kind is None and _is_path(name):
            kind, name = "suites", f"manifest:{name}"
        kind = kind or suite.find_kind(name)
        checks = suite.check_in_subprocess(kind, name, options, time_limit_s=time_limit)
    except FobenchError as error:
        raise type(error)(_own_options(str(error))) from error
    rows = [("ok" if c.ok else "FAIL", c.name, _own_options(c.message)) for c in checks]
    table(f"{kind} {name}", ("", "check", "finding"), rows)
    if not all(check.ok for check in checks):
        sys.exit(1)


def _is_path(name: str) -> bool:
    """Whether a name is that of a file or folder, and not of a component."""
    return Path(name).expanduser().exists() and not any(name in registry.factories(kind) for kind in registry.KINDS)


def _own_options(message: str) -> str:
    """A message whose advice names options of `fobench run`, with the option of this command in their place."""
    message = re.sub(r"--(?:suite|system|backbone|codec)-args\b", "--args", message)
    return re.sub(r"--(checkpoint|backbone|codec|judge)(?=[ .,])(?: (?=[\w~/.{]))?", r"--args \1=", message)
