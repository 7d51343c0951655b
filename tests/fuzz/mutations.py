"""Mutations of JSON documents, texts and bytes, each with what a strict reader must do with the result."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from tests.fuzz.case import Expected

Path_ = tuple[Any, ...]  # keys and indices from the root
Mutated = tuple[bytes, Expected, str]  # content, what must become of it, what was done
TOKEN = "\x01token\x01"
NOT_NUMBERS = ("NaN", "Infinity", "-Infinity", "1e999", "-1e400", "1" + 400 * "0", "9" * 5000, str(1 << 63))
ODD_TEXTS = (
    "", " ", "\0", "\ufeff", "\u2028", "\ud800", "\udcff", "🙂" * 40, "a\u0301", "\u202eabc", "../../../etc/passwd", "%s{0}",
    "x" * 5000, "١٢٣", "ﬁ", "<script>", "[bold]", "-1", "1e5", "nan", "None", "true", "{}", "[[", "9" * 400, "\x1b[31m", "\r\n",
)  # fmt: skip
ODD_NUMBERS = (-1, 0, 1, 2**31, 2**53 + 1, 2**62, -(2**63) + 1, 0.5, -0.0, 1e-320, 1e18, 1e300, -1e300)
ODD_VALUES = (None, True, False, [], {}, [[]], {"": {}}, [None], *ODD_NUMBERS, *ODD_TEXTS)


def leaves(value: Any, trail: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """(path, value) of every scalar in plain data."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*trail, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*trail, index))
    else:
        yield trail, value


def tables(value: Any, trail: Path_ = ()) -> Iterator[Path_]:
    """The path of every object in plain data."""
    if isinstance(value, dict):
        yield trail
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from tables(item, (*trail, key))


def at(value: Any, path: Path_) -> Any:
    for key in path:
        value = value[key]
    return value


def replaced(data: Any, path: Path_, value: Any) -> Any:
    """A copy with another value at `path`."""
    if not path:
        return value
    made = copy.deepcopy(data)
    at(made, path[:-1])[path[-1]] = value
    return made


def encoded(data: Any, token: str = "") -> bytes:
    """JSON as UTF-8, with `token`, which need be no JSON, in the place of `TOKEN`."""
    text = json.dumps(data, ensure_ascii=True).replace(json.dumps(TOKEN), token)
    return text.encode("utf-8", "surrogatepass")


def mutate_json(
    rng: Random, data: Any, is_typed: Callable[[Path_], bool] = lambda path: True, closed: bool = True
) -> Mutated:
    """A mutation of a valid document. `is_typed`: whether a path has one type; `closed`: no object there takes further keys."""
    everywhere = list(leaves(data))
    typed = [(path, value) for path, value in everywhere if is_typed(path)]
    path, value = rng.choice(typed)
    any_path, _ = rng.choice(everywhere)
    kind = rng.randrange(12)
    if kind == 0:
        return encoded(replaced(data, path, rng.choice(([], {}, [1], {"a": 1})))), "refused", f"a container at {path}"
    if kind == 1:
        other = 7 if isinstance(value, str) else "x" if isinstance(value, int | float) else [value]
        return encoded(replaced(data, path, other)), "refused", f"another type at {path}"
    if kind == 2:
        token = rng.choice(NOT_NUMBERS)
        return encoded(replaced(data, any_path, TOKEN), token), "refused", f"{token[:12]} at {any_path}"
    if kind == 3:
        return _doubled_key(rng, data)
    if kind == 4:
        content = encoded(data)
        return content[: rng.randrange(1, len(content) - 1)], "refused", "cut"
    if kind == 5:
        content = encoded(data)
        place = rng.randrange(len(content))
        return (
            content[:place] + rng.choice((b"\xff", b"\xc3\x28", b"\xed\xa0\x80")) + content[place:],
            "refused",
            "not UTF-8",
        )
    if kind == 6:
        depth = rng.choice((100, 1000, 3000, 100_000))
        opening, closing = rng.choice((("[", "]"), ('{"a":', "}")))
        token = opening * depth + "1" + closing * depth * rng.randrange(2)
        return encoded(replaced(data, any_path, TOKEN), token), "refused", f"{depth} deep at {any_path}"
    if kind == 7 and closed:
        table = rng.choice([each for each in tables(data) if is_typed((*each, "zz"))])
        changed = copy.deepcopy(data)
        at(changed, table)["zz" + rng.choice(ODD_TEXTS)[:20]] = 1
        return encoded(changed), "refused", f"an unknown key in {table}"
    if kind == 8:
        return (
            json.dumps(data, indent=rng.randrange(4), ensure_ascii=False).encode(errors="backslashreplace"),
            "accepted",
            "indented",
        )
    if kind == 9:
        return b"\xef\xbb\xbf" + encoded(data), "accepted", "a byte-order mark"
    if kind == 10:
        return noisy(rng, encoded(data)), "either", "noise"
    odd = rng.choice(ODD_VALUES)
    return encoded(replaced(data, any_path, odd)), "either", f"{odd!r:.40} at {any_path}"


def _doubled_key(rng: Random, data: Any) -> Mutated:
    filled = [path for path in tables(data) if at(data, path)]
    path = rng.choice(filled)
    table = at(data, path)
    key = rng.choice(list(table))
    body = json.dumps(table)
    token = f"{body[:-1]}, {json.dumps(key)}: {json.dumps(rng.choice((1, 'x', None)))}}}"
    return (
        (token.encode() if not path else encoded(replaced(data, path, TOKEN), token)),
        "refused",
        f"{key} twice in {path}",
    )


def noisy(rng: Random, content: bytes, most: int = 8) -> bytes:
    """Bytes with a few of them changed, removed, doubled or moved."""
    made = bytearray(content)
    for _ in range(rng.randint(1, most)):
        if not made:
            break
        place, end = sorted((rng.randrange(len(made)), min(len(made), rng.randrange(len(made)) + 1)))
        action = rng.randrange(5)
        if action == 0:
            made[place] = rng.randrange(256)
        elif action == 1:
            del made[place : min(end, place + 40)]
        elif action == 2:
            made[place:place] = made[place : min(end, place + 40)]
        elif action == 3:
            made[place : place + 8] = rng.choice((b"\0" * 8, b"\xff" * 8, rng.randbytes(8), b"\xff\xff\xff\x7f"))
        else:
            made[place:place] = rng.choice((b'"', b"}", b"[", b"\n", b"\0", b"1e9", b"-", "é".encode()))
    return bytes(made)


def odd_text(rng: Random, words: tuple[str, ...] = ()) -> str:
    """A text of ordinary and odd pieces."""
    pieces = [*words, *ODD_TEXTS] if words else list(ODD_TEXTS)
    text = rng.choice(("", " ", "-", "\n")).join(rng.choice(pieces) for _ in range(rng.randint(1, 8)))
    return (
        text
        if rng.random() < 0.7
        else "".join(
            chr(rng.choice((rng.randrange(128), rng.randrange(0x3000), rng.randrange(0x10FFFF))))
            for _ in range(rng.randint(1, 60))
        )
    )
