"""Exceptions whose messages are meant for the user: what is wrong, the choices and the fix."""

from __future__ import annotations

import difflib
import os
import signal
from collections.abc import Iterable

LONGEST_MESSAGE = 2_000  # characters of an exception's message that are kept
LONGEST_SHOWN = 200  # characters of a name


class FobenchError(Exception):
    """An error whose message is meant for the user; it is shown without a traceback, and the exit code is 2."""


class PrerequisiteError(FobenchError):
    """A missing prerequisite (package, model file, setup); the message gives the command that provides it."""


class SystemFailure(FobenchError):
    """A failure of the system under test; it is recorded as that scenario's failure, and the run continues.

    `kind`: `raised`, `hung`, `died`, `bad_audio`, `bad_event`, `bad_answer` or `endless`.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Stopped(KeyboardInterrupt):
    """A signal asks the process to end; `number` is the signal's. Its text is the signal's name."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def unknown(kind: str, name: str, choices: Iterable[str]) -> FobenchError:
    """The error for an unknown name of `kind`, with the closest names first and then all choices."""
    known = sorted(choices)
    close = difflib.get_close_matches(name[:LONGEST_SHOWN], known, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(repr(n) for n in close)}?" if close else ""
    text = ", ".join(name if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]}..." for name in known) or "none"
    found = repr(name) if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]!r}..."
    return FobenchError(f"Unknown {kind} {found}.{hint} Choices: {text}.")


def describe_error(error: BaseException, name: bool = True) -> str:
    """An exception of any kind as text, e.g. "ValueError: no such voice (voice.py:12)"; never raises.

    Without `name`, the message alone. A message longer than `LONGEST_MESSAGE` characters is cut, with a note; half characters
    (lone surrogates) are escaped.
    """
    try:
        message = str.__str__(str(error))
    except BaseException:  # a plugin's exception may do anything when asked for its message
        message = "its message cannot be read"
    if len(message) > LONGEST_MESSAGE:
        message = f"{message[:LONGEST_MESSAGE]}... (cut: {len(message):,} characters)"
    if name:
        kind = type.__getattribute__(type(error), "__name__")
        message = f"{kind}: {message}" if message else str(kind)
        message += _place(error)
    return message.encode("utf-8", "backslashreplace").decode()


def first_line(error: BaseException) -> str:
    """The first line of an exception's message without its full stop, or its type where the message is empty."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return text.strip().partition("\n")[0].rstrip(" .\r") or type(error).__name__


def _place(error: BaseException) -> str:
    """The file and line that raised an exception, in brackets; empty if unknown."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f" ({trace.tb_frame.f_code.co_filename.rpartition(os.sep)[2]}:{trace.tb_lineno})" if trace else ""
