"""Maps the keys of a checkpoint to the names of our parameters, strictly."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from fobench.errors import FobenchError


def rename(keys: Iterable[str], renames: Sequence[tuple[str, str]], unused: Sequence[str] = ()) -> dict[str, str]:
    """Our name for every key: the name of the first pattern that matches its beginning, followed by the rest of the key.

    `renames`: pairs (regular expression, name with groups such as \\1); keys that begin with a pattern of `unused` are
    dropped. Raises `FobenchError` for keys that match none, and for two keys with the same name.
    """
    wanted = [key for key in keys if not any(re.match(pattern, key) for pattern in unused)]
    names = {key: _name(key, renames) for key in wanted}
    unknown = [key for key, name in names.items() if name is None]
    if unknown:
        raise FobenchError(f"The checkpoint holds {len(unknown)} keys that nothing here uses: {_some(unknown)}.")
    found: dict[str, str] = {}
    for key, name in names.items():
        if (other := found.setdefault(str(name), key)) != key:
            raise FobenchError(f"The checkpoint's keys {other!r} and {key!r} are both {name!r} here.")
    return {key: name for name, key in found.items()}


def _name(key: str, renames: Sequence[tuple[str, str]]) -> str | None:
    matches = ((re.match(pattern, key), name) for pattern, name in renames)
    return next((match.expand(name) + key[match.end() :] for match, name in matches if match), None)


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:5]) + (", ..." if len(keys) > 5 else "")
