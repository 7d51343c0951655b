"""Keys of servers: from the environment alone, so that they are in no configuration, record or log."""

from __future__ import annotations

import os

from fobench.errors import PrerequisiteError


def secret(variable: str | None) -> str | None:
    """The key in an environment variable; None where none is named. Raises PrerequisiteError if it is not set."""
    if not variable:
        return None
    if not (value := os.environ.get(variable, "").strip()):
        raise PrerequisiteError(f"The environment variable {variable} is not set: it must hold the key (api_key_env).")
    return value
