"""What fobench tells a user when something is wrong: the thing, the choices and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FobenchError(Exception):
    """An error whose message is meant for the user; shown without a traceback, exit code 2."""


class PrerequisiteError(FobenchError):
    """Something has to be installed, fetched or set up first; the message gives the command."""


class SystemFailure(FobenchError):
    """The system under test failed; recorded as that scenario's failure, the run goes on.

    `kind`: `raised`, `hung`, `died`, `bad_audio` or `bad_event`.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def unknown(kind: str, name: str, choices: Iterable[str]) -> FobenchError:
    """The error for a name that nobody provides: nearest names first, then all the choices."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    listed = ", ".join(known) if known else "none"
    return FobenchError(f"Unknown {kind} {name!r}.{hint} Choices: {listed}.")
