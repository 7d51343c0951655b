"""Options as text: lists of names, and options for one of several components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fobench.errors import FobenchError, unknown


def split_names(flag: str, text: str | None) -> tuple[str, ...]:
    """The names in "a,b": ("a", "b"). Raises `FobenchError` for a duplicate name."""
    found = tuple(filter(None, (name.strip() for name in (text or "").split(","))))
    if len(set(found)) < len(found):
        raise FobenchError(f"{flag} {text}: a name is given twice.")
    return found


def options_for(options: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """The options for the component `name`: `key` (for all), or `NAME:key` by its name or family. The most specific wins."""
    by_specificity = sorted(options.items(), key=lambda item: item[0].count(":"))
    split_keys = [(key.rpartition(":"), value) for key, value in by_specificity]
    return {key: value for (owner, _, key), value in split_keys if _is_for(name or "", owner)}


def check_owners(kind: str, flag: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises `FobenchError` for an option `NAME:key` of a component of `kind` that is not one of the `known` or their families."""
    for key in options:
        owner = key.rpartition(":")[0]
        if owner and not any(_is_for(name, owner) for name in known):
            raise unknown(f"{kind} in {flag}", owner, known)


def _is_for(name: str, owner: str) -> bool:
    return owner in ("", name) or name.startswith(f"{owner}:")
