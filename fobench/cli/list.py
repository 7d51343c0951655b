"""`fobench ls`: lists of components and scenarios."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from fobench.api.option_ranges import SCENARIOS
from fobench.cli.options import named_args, whole_number
from fobench.console import counted, table
from fobench.errors import unknown

if TYPE_CHECKING:
    from fobench.storage.run_config import RunConfig


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
    """List components: systems, backbones, codecs, checkpoints, trainers, voices, suites, metrics, ...

    `fobench ls scenarios --suite NAME` lists the scenarios of a suite with their turns.
    """
    from fobench.api import registry

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
