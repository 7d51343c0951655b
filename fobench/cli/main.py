"""The command line: `fobench run | score | report | compare | baseline | codec | ls | validate | train | assets`.

Options of `run` can also be set as FOBENCH_<OPTION> or in a --config file (keys: their long names); the command line wins
over the environment, the environment over the file. Exit codes: 0 success, 1 a scenario, metric, report, check, gate or limit failed, 2 wrong usage or a
missing prerequisite, 3 a gate is inconclusive, 141 broken pipe; stopped by a signal: 129 hang-up, 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import Any, TextIO

import click

from fobench import __version__
from fobench.cli import stop_signals
from fobench.cli.assets import assets
from fobench.cli.baseline import baseline
from fobench.cli.codec import codec
from fobench.cli.compare import compare
from fobench.cli.components import ls, validate
from fobench.cli.load import load
from fobench.cli.report import report, score
from fobench.cli.run import run
from fobench.cli.serve import serve
from fobench.cli.train import train
from fobench.errors import FobenchError, unknown

BROKEN_PIPE = 141  # 128 + SIGPIPE, as in a shell


class CommandGroup(click.Group):
    """The command group; it shows errors meant for the user as a message without a traceback."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        with stop_signals.raised():
            try:
                return super().main(*args, **kwargs)
            except SystemExit:
                _flush_output()
                raise

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except KeyboardInterrupt as error:  # click would exit with 1
            sys.exit(stop_signals.end(error))
        except BrokenPipeError:  # of --help; click would exit with 1
            _drop_output(sys.stdout, sys.stderr)
            sys.exit(BROKEN_PIPE)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FobenchError as error:
            click.echo(f"fobench: {error}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt as error:  # click would exit with 1
            ctx.exit(stop_signals.end(error))
        except BrokenPipeError:
            _drop_output(sys.stdout, sys.stderr)
            ctx.exit(BROKEN_PIPE)
        except OSError as error:  # e.g. a read-only folder or a full disk
            click.echo(f"fobench: {_advice(error)}", err=True)
            if error.filename is None:
                _drop_output(sys.stdout)
            ctx.exit(2)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise unknown("command", args[0], self.commands)
        return super().resolve_command(ctx, args)


def _flush_output() -> None:
    """Writes what is buffered; exits if nobody reads it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output(sys.stdout, sys.stderr)
        sys.exit(BROKEN_PIPE)
    except (OSError, ValueError):  # a closed output, or a full disk, of which the interpreter tells
        pass


def _drop_output(*streams: TextIO) -> None:
    """Redirects streams to the null device, so that the interpreter does not fail on the buffered rest at exit."""
    for stream in streams:
        with contextlib.suppress(OSError, ValueError):  # a stream without a file descriptor, as in tests
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _advice(error: OSError) -> str:
    """The error message with a fix. An error without a file name concerns standard output."""
    if error.filename is not None:
        return f"{error}. Set FOBENCH_HOME or --output to a writable folder."
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
    return f"the output cannot be written: {error.strerror}." if full else f"{error}."


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fobench")
def main() -> None:
    """Measure live spoken dialogue: intelligence parity, WER and latency of a speech-to-speech system.

    A first run: `fobench assets pull`, then `fobench run --limit 12`. Of a live server: `fobench run --system realtime:URL`.
    """


for command in (run, score, report, compare, baseline, codec, ls, validate, serve, load, train, assets):
    main.add_command(command)
