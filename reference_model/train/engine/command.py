"""Click command class of training stages: errors are printed as messages, and a dry run requires no data."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from fobench.errors import FobenchError

EXAMPLE = re.compile(r"\n\n(    \S)")  # the beginning of an indented paragraph


class StageCommand(click.Command):
    """A click command that prints FobenchError like `fobench` does and exits with 2.

    With --dry-run no option is required. Indented examples in the help keep their lines.
    """

    def __init__(self, name: str | None, *, help: str | None = None, **settings: Any) -> None:
        shown = EXAMPLE.sub(r"\n\n\b\n\1", inspect.cleandoc(help)) if help else help
        super().__init__(name, help=shown, **settings)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--dry-run" not in args:
            return super().parse_args(ctx, args)
        with _all_optional(self.params):
            return super().parse_args(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except FobenchError as error:
            click.echo(f"fobench: {error}", err=True)
            sys.exit(2)


@contextmanager
def _all_optional(parameters: Sequence[click.Parameter]) -> Iterator[None]:
    """Within the block no option is required and no path has to exist."""
    required = [parameter for parameter in parameters if parameter.required]
    paths = {
        id(parameter.type): parameter.type
        for parameter in parameters
        if isinstance(parameter.type, click.Path) and parameter.type.exists
    }
    try:
        for parameter in required:
            parameter.required = False
        for path in paths.values():
            path.exists = False
        yield
    finally:
        for parameter in required:
            parameter.required = True
        for path in paths.values():
            path.exists = True
