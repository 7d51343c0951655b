"""Plain data: what a plugin hands over, as values that JSON holds, so that whatever is recorded can be read again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

LARGEST = 1 << 63  # whole numbers are below it, and above its negative
DEPTH = 16  # lists and tables within each other
PIECE_BYTES = 4_000_000  # of one piece of data as JSON, at most
LEAF_BYTES = 24  # of a number as JSON, with its comma, at most


@dataclass(slots=True)
class Allowance:
    """The bytes of JSON that may still be used, shared by the pieces of data of one conversation."""

    left: int = PIECE_BYTES

    def use(self, count: int) -> None:
        """Takes `count` bytes. Raises ValueError if there are not as many left."""
        self.left -= count
        if self.left < 0:
            raise ValueError("is too large to be recorded")


def plain(value: Any, where: str, allowance: Allowance | None = None) -> Any:
    """`value` as None, bool, int, float, str, list or dict with text keys; numbers of numpy become Python's.

    Half characters (lone surrogates) in texts become U+FFFD. Raises ValueError, beginning with `where`, for a number that is
    not finite or not of 64 bits, any other type, and data that is too deep or too large.
    """
    return _plain(value, where, Allowance() if allowance is None else allowance, DEPTH)


def plain_text(text: str) -> str:
    """`text` as an exact str without half characters: pairs of them are joined, lone ones become U+FFFD."""
    text = str.__str__(text)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def text_bytes(text: str) -> int:
    """The bytes of a text in JSON, at most: a control character takes six, a quotation mark two."""
    return 2 * len(text) + 2 if text.isascii() and text.isprintable() else 6 * len(text) + 2


def _plain(value: Any, where: str, allowance: Allowance, depth: int) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        text = plain_text(value)
        _use(allowance, text_bytes(text), where)
        return text
    _use(allowance, LEAF_BYTES, where)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        value = int.__index__(value)
        if not -LARGEST < value < LARGEST:
            raise ValueError(f"{where} is a whole number of more than 64 bits")
        return value
    if isinstance(value, float):
        value = float.__float__(value)
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}, not a finite number")
        return value
    if not isinstance(value, list | tuple | Mapping):
        raise ValueError(f"{where} is of type {type(value).__name__}, not text, a number, a list or a table")
    if not depth:
        raise ValueError(f"{where} is more than {DEPTH} levels deep")
    if not isinstance(value, Mapping):
        return [_plain(item, where, allowance, depth - 1) for item in value]
    return {
        _key(key, where, allowance): _plain(item, f"{where}[{_shown(key)}]", allowance, depth - 1)
        for key, item in value.items()
    }


def _key(key: Any, where: str, allowance: Allowance) -> str:
    if not isinstance(key, str):
        raise ValueError(f"{where} has a key of type {type(key).__name__}, not text")
    text = plain_text(key)
    _use(allowance, text_bytes(text) + 2, where)
    return text


def _shown(key: Any) -> str:
    return repr(plain_text(key)[:40]) if isinstance(key, str) else type(key).__name__


def _use(allowance: Allowance, count: int, where: str) -> None:
    try:
        allowance.use(count)
    except ValueError as error:
        raise ValueError(f"{where} {error}") from error
