"""Exceptions whose messages are meant for the user: what is wrong, the choices and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FobenchError(Exception):
    """An error whose message is meant for the user; it is shown without a traceback, and the exit code is 2."""


class PrerequisiteError(FobenchError):
    """A missing prerequisite (package, model file, setup); the message gives the command that provides it."""


class SystemFailure(FobenchError):
    """A failure of the system under test; it is recorded as that scenario's failure, and the run continues.

    `kind`: `raised`, `hung`, `died`, `bad_audio` or `bad_event`.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def unknown(kind: str, name: str, choices: Iterable[str]) -> FobenchError:
    """The error for an unknown name of `kind`, with the closest names first and then all choices."""
    known = sorted(choices)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(repr(n) for n in close)}?" if close else ""
    text = ", ".join(known) if known else "none"
    return FobenchError(f"Unknown {kind} {name!r}.{hint} Choices: {text}.")
