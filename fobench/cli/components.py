"""`fobench ls` and `fobench validate`: the components, and whether one keeps its contract."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fobench.api import registry
from fobench.api.option_ranges import SCENARIOS, STEP_S
from fobench.cli.options import NumberIn, named_args, pairs, whole_number
from fobench.console import counted, table
from fobench.errors import FobenchError, unknown

if TYPE_CHECKING:
    from fobench.storage.run_config import RunConfig

PROBE_LIMIT_S = 600.0


@click.command()
@click.argument("kind", required=False)
@click.option(
    "--suite",
    "-s",
    "suites",
    multiple=True,
    default=["duplex"],
    help="For `ls scenarios`: the suites to list; repeatable.",
)
@named_args("--suite-args", "suites")
@click.option(
    "--limit", "-L", type=whole_number(SCENARIOS), help="For `ls scenarios`: at most this many of each suite."
)
def ls(kind: str | None, suites: tuple[str, ...], suite_args: Mapping[str, str], limit: int | None) -> None:
    """List components: systems, backbones, suites, metrics, ...

    KIND is one of systems, backbones, codecs, checkpoints, trainers, recognizers, voices, suites, metrics and reporters;
    without it, all are listed.

    `fobench ls scenarios --suite NAME` lists the scenarios of a suite with their turns.
    """
    if kind == "scenarios":
        from fobench.storage.run_config import RunConfig

        _list_scenarios(RunConfig.from_json({"suites": suites, "suite_args": suite_args, "limit": limit}))
        return
    if kind is not None and kind not in registry.KINDS:
        raise unknown("kind of component", kind, (*registry.KINDS, "scenarios"))
    for each in [kind] if kind else registry.KINDS:
        rows = [(name, _summary(factory)) for name, factory in sorted(registry.factories(each).items())]
        table(each, ("name", "what"), rows)


def _list_scenarios(config: RunConfig) -> None:
    """Prints a row per turn; the first row of a scenario has its id and category."""
    from fobench.execution.scenario_selection import select

    found = select(config)
    rows = [
        (s.id if i == 0 else "", s.expect.family if i == 0 else "", turn.describe())
        for s in found
        for i, turn in enumerate(s.turns)
    ]
    table(counted(len(found), "scenario"), ("id", "category", "turns"), rows)


def _summary(factory: Callable[..., Any]) -> str:
    import inspect

    return (inspect.getdoc(factory) or "").split("\n\n")[0].replace("\n", " ")


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
    """Check a component's contract, or a scenario file.

    NAME is a component (fobench ls), or the path of a scenario file, a manifest or a folder of recordings.
    """
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
