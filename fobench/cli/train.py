"""`fobench train STAGE`: a command per trainer of the plugins, loaded on use."""

from __future__ import annotations

import inspect
from typing import Any

import click

from fobench.api import registry
from fobench.errors import FobenchError, unknown


class TrainerGroup(click.Group):
    """The group of the plugins' trainers, in their order."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(registry.factories("trainers"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a trainer, or None. Raises FobenchError naming a package that is not installed."""
        factory = registry.factories("trainers").get(cmd_name)
        if factory is None:
            return None
        try:
            command: click.Command = factory()
        except ImportError as error:
            raise FobenchError(
                f"Trainer {cmd_name!r} cannot be loaded: {error}. Its packages come with: pip install 'fobench[train]'"
            ) from error
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = registry.factories("trainers")
        if args[0] not in known and not args[0].startswith("-"):
            raise unknown("stage", args[0], known)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, inspect.getdoc(factory) or "") for name, factory in registry.factories("trainers").items()]
        with formatter.section("Stages"):
            formatter.write_dl(rows)


HELP = """Train the reference system, stage by stage, from texts.

A stage resumes from the newest checkpoint in its --out folder, so it may be stopped at any time. On several GPUs: accelerate
launch --module fobench train STAGE ..."""

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 80}
train = TrainerGroup("train", help=HELP, context_settings=SETTINGS)
