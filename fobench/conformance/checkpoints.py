"""Conformance of checkpoints and trainers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from fobench.conformance.checks import Probe, need

# ---- Checkpoints -----------------------------------------------------------------------------------------------------


def checkpoint_probes(path: Path) -> Sequence[tuple[str, Probe]]:
    def is_path() -> str:
        need(isinstance(path, Path), f"the factory must return the path of the weights, not {path!r}")
        return str(path.name)

    return (("path", is_path),)


# ---- Trainers --------------------------------------------------------------------------------------------------------


def trainer_probes(command: click.Command) -> Sequence[tuple[str, Probe]]:
    def is_command() -> str:
        need(isinstance(command, click.Command), f"the factory must return a click command, not {command!r}")
        return str(command.name)

    def helps() -> str:
        with click.Context(command, info_name="trainer", max_content_width=80) as context:
            text = command.get_help(context)
        need(command.help, "it has no help: say in its docstring what it trains")
        need(all(len(line) <= 80 for line in text.splitlines()), "its help is wider than 80 columns")
        return f"{len(text.splitlines())} lines"

    return (("command", is_command), ("help", helps))
