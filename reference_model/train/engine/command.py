"""The command of a training stage as a click class: errors as messages, and a dry run that needs no data."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from fobench.errors import FobenchError


class StageCommand(click.Command):
    """A command that, run as a program of its own, tells errors as `fobench` does. A dry run needs no data."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--dry-run" not in args:
            return super().parse_args(ctx, args)
        with _nothing_needed(self.params):
            return super().parse_args(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except FobenchError as error:
            click.echo(f"fobench: {error}", err=True)
            sys.exit(2)


@contextmanager
def _nothing_needed(parameters: Sequence[click.Parameter]) -> Iterator[None]:
    """Within it no option has to be given, and no path has to exist."""
    required = [one for one in parameters if one.required]
    paths = {id(one.type): one.type for one in parameters if isinstance(one.type, click.Path) and one.type.exists}
    try:
        for one in required:
            one.required = False
        for path in paths.values():
            path.exists = False
        yield
    finally:
        for one in required:
            one.required = True
        for path in paths.values():
            path.exists = True
