"""Keys of servers: from the environment alone, so that they are in no configuration, record or log."""

from __future__ import annotations

import os

from fobench.errors import PrerequisiteError


def secret(variable: str | None) -> str | None:
    """The key in an environment variable; None where none is named. Raises PrerequisiteError if it holds none that HTTP can carry."""
    if not variable:
        return None
    if not (value := os.environ.get(variable, "").strip()):
        raise PrerequisiteError(f"The environment variable {variable} is not set: it must hold the key (api_key_env).")
    if not (value.isascii() and value.isprintable()):  # no header could carry it, so that it would never be accepted
        raise PrerequisiteError(
            f"The key in the environment variable {variable} holds a character that is no printable ASCII: copy it anew."
        )
    return value
