"""Options written as text: lists of names, and options that are for one component only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fobench.errors import FobenchError, unknown


def names(flag: str, given: str | None) -> tuple[str, ...]:
    """ "a,b" as ("a", "b"). Raises `FobenchError` for a name given twice."""
    found = tuple(filter(None, (name.strip() for name in (given or "").split(","))))
    if len(set(found)) < len(found):
        raise FobenchError(f"{flag} {given}: a name is given twice.")
    return found


def owned(options: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """Those options that are for `name`: `key`, for all, or `NAME:key`, which wins."""
    every = [(key.rpartition(":"), value) for key, value in sorted(options.items(), key=lambda item: ":" in item[0])]
    return {key: value for (owner, _, key), value in every if owner in ("", name)}


def check_owners(kind: str, flag: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises `FobenchError` for an option `NAME:key` of a component of `kind` that is not among the `known`."""
    for key in options:
        owner = key.rpartition(":")[0]
        if owner and owner not in known:
            raise unknown(f"{kind} in {flag}", owner, known)
