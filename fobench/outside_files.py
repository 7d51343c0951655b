"""Files from outside: bounded reads of regular files, as text, JSON, TOML and typed records, with errors that say what was found.

Every function raises OSError or ValueError whose message is the end of a sentence ("it is not a regular file").
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

MAX_BYTES = 1 << 28  # of a file that is read as a whole
MAX_DEPTH = 64  # lists and tables within each other
LFS_POINTER = b"version https://git-lfs"  # how the file begins that Git LFS leaves in place of a file
PARQUET = b"PAR1"  # how a parquet file begins and ends
LARGEST = 1 << 63  # whole numbers are below it, and above its negative


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The content of a regular file of at most `limit` bytes; a folder, device, pipe or socket is refused unread."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer would block
    except ValueError as error:  # a null byte, or half a character
        raise ValueError("its name is not that of a file") from error
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is not a regular file")
        if found.st_size > limit:
            raise ValueError(f"it is larger than {limit:,} bytes")
        blocks, size = [], 0
        while block := file.read(min(1 << 20, limit + 1 - size)):
            blocks.append(block)
            size += len(block)
        if size > limit:  # it has grown
            raise ValueError(f"it is larger than {limit:,} bytes")
        content = b"".join(blocks)
        if lfs_pointer(content):
            raise ValueError("it is a Git LFS pointer, not the file itself; fetch it: git lfs pull")
        return content


def lfs_pointer(content: bytes) -> bool:
    """Whether the beginning of a file is that of a Git LFS pointer."""
    return content.startswith(LFS_POINTER)


def parquet_rows(path: Path) -> int:
    """The number of rows of a parquet file. Raises ValueError, saying what it is instead, for any other file."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise ValueError("it needs pyarrow to be read: pip install 'fobench[tables]'") from None

    with path.open("rb") as file:
        head, size = file.read(200), file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(PARQUET)))
        tail = file.read()
    if lfs_pointer(head):
        raise ValueError("it is no parquet file but a Git LFS pointer; fetch the file itself: git lfs pull")
    if not size:
        raise ValueError("it is empty, no parquet file; download it again")
    if not head.startswith(PARQUET):
        raise ValueError("it is no parquet file")
    if tail != PARQUET or size < 12:
        raise ValueError("it is a cut parquet file; download it again")
    try:
        return int(pyarrow.parquet.read_metadata(path).num_rows)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"it is a damaged parquet file ({error}); download it again") from error


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """The text of a UTF-8 file without its byte-order mark; line ends become "\\n"."""
    return decode(read_bytes(path, limit)).replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path, limit: int = MAX_BYTES) -> list[tuple[str, str]]:
    """[(FILE:NUMBER, line)] of a text file, without blank lines. Only line ends end a line, not Unicode's separators."""
    lines = enumerate(read_text(path, limit).split("\n"), start=1)
    return [(f"{path.name}:{number}", line) for number, line in lines if line.strip()]


def read_json_lines(path: Path, limit: int = MAX_BYTES) -> list[tuple[str, Any]]:
    """[(FILE:NUMBER, plain data)] of a file of JSON Lines; ValueError for its first invalid line, with file and number."""
    found = []
    for where, line in read_lines(path, limit):
        try:
            found.append((where, parse_json(line)))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    return found


def decode(content: bytes) -> str:
    """UTF-8 without a byte-order mark as text."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: {error.reason} at byte {error.start}") from error


def read_json(path: Path, limit: int = MAX_BYTES) -> Any:
    """The plain data of a JSON file; see `parse_json`."""
    return parse_json(read_bytes(path, limit))


def parse_json(content: bytes | str) -> Any:
    """The plain data of a JSON text: no repeated key, at most `MAX_DEPTH` deep, its numbers finite and of 64 bits."""
    try:
        text = content if isinstance(content, str) else decode(content)
        data = json.loads(text, parse_constant=_constant)
        if _plain_keys(data) == _most_keys(text):  # no key is repeated: most files
            return data
        data = json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise _too_deep() from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    except ValueError as error:
        raise _plain(error) from error
    if problem := json_problem(data):
        raise ValueError(problem)
    return data


def read_toml(path: Path, limit: int = MAX_BYTES) -> dict[str, Any]:
    """The table of a TOML file, at most `MAX_DEPTH` deep."""
    import tomllib  # here, because few commands read TOML

    try:
        data = tomllib.loads(read_text(path, limit))
    except RecursionError as error:
        raise _too_deep() from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is not TOML: {error}") from error
    except ValueError as error:
        raise _plain(error) from error
    if json_problem(data, numbers=False):
        raise _too_deep()
    return data


def record(cls: type[T], data: Any, *, closed: bool = True) -> T:
    """The dataclass `cls` of a file's format from plain data, and those within it; `closed`: other keys than its own are refused.

    Raises ValueError naming the key, what is expected and what was found.
    """
    import msgspec

    try:
        made = msgspec.convert(data, cls)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).replace("`", "").partition(" - at ")
        key, lacks = where.strip("$.") or "it", problem.partition("Object missing required field ")[2]
        wrong = f"lacks {lacks}" if lacks else f"has the wrong type: {problem[:1].lower()}{problem[1:200]}"
        raise ValueError(f"{key} {wrong}") from error
    if closed and (unknown_key := _unknown_key(cls, data)):
        raise ValueError(f"it has an unknown key {unknown_key}")
    return made


def json_problem(data: Any, numbers: bool = True) -> str:
    """What keeps plain data from being read back as JSON everywhere: its depth, or (`numbers`) a number; empty if nothing.

    Values that JSON has no type for are not considered.
    """
    level: list[tuple[Any, Any]] = [((), [data])]  # (trail, container); a trail is (trail of the parent, key)
    for _ in range(MAX_DEPTH + 2):
        found: list[tuple[Any, Any]] = []
        for trail, container in level:
            for key, value in container.items() if isinstance(container, dict) else enumerate(container):
                kind = type(value)
                if kind is dict or kind is list:
                    found.append(((trail, key), value))
                elif numbers and (
                    (kind is float and not math.isfinite(value)) or (kind is int and not -LARGEST < value < LARGEST)
                ):
                    return f"{_key((trail, key))} is a number that is not finite, or not of 64 bits"
        if not found:
            return ""
        level = found
    return str(_too_deep())


def _plain_keys(data: Any) -> int | None:
    """The number of keys in all objects of plain data; None where `json_problem` may find something."""
    level: list[Any] = [[data]]
    keys = 0
    for _ in range(MAX_DEPTH + 1):
        found: list[Any] = []
        for container in level:
            if type(container) is dict:
                keys += len(container)
                values: Any = container.values()
            else:
                values = container
            for value in values:
                kind = type(value)
                if kind is dict or kind is list:
                    found.append(value)
                elif kind is float:
                    if not math.isfinite(value):
                        return None
                elif kind is int and not -LARGEST < value < LARGEST:
                    return None
        if not found:
            return keys
        level = found
    return None


def _most_keys(text: str) -> int:
    """The number of keys in all objects of a JSON text, repeated ones too; more where a string looks like one."""
    return text.count('":') + sum(text.count(f'"{blank}') for blank in " \t\n\r" if blank in text)


def _key(trail: Any) -> str:
    """The keys of a trail as text, e.g. `totals[3].value`; "it" for the data itself."""
    keys = []
    while trail:
        trail, key = trail
        keys.append(key)
    keys = keys[-2::-1]  # the last one is that of the data itself
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return text.removeprefix(".")[:200] or "it"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice in one object")
    return made


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _plain(error: ValueError) -> ValueError:
    """The error, in plain words where Python refuses a number for its length."""
    return ValueError("a number in it has thousands of digits") if "set_int_max_str_digits" in str(error) else error


def _too_deep() -> ValueError:
    return ValueError(f"its lists and tables are more than {MAX_DEPTH} deep")


def _unknown_key(kind: Any, data: Any, where: str = "") -> str:
    """The first key in the tables of `data` that the dataclasses of `kind` do not have; empty without one."""
    if data is None:
        return ""
    if isinstance(kind, type) and is_dataclass(kind):
        known = _nested_kinds(kind)
        items = [(known[key], item, f"{where}{key}.") for key, item in data.items() if known.get(key)]
        unknown_keys = [where + key for key in data if key not in known]
    else:
        inner = next(member for member in get_args(kind) if _holds_dataclass(member))
        is_union = get_origin(kind) in (Union, UnionType)
        children = [data] if is_union else data.values() if isinstance(data, Mapping) else data
        if isinstance(inner, type) and is_dataclass(inner):
            known = _nested_kinds(inner)
            if not any(known.values()):  # e.g. hundreds of events
                children = [child for child in children if child is not None and not child.keys() <= known.keys()]
        items, unknown_keys = [(inner, item, where) for item in children], []
    deeper = (_unknown_key(*item) for item in items)
    return next(iter(unknown_keys), "") or next(filter(None, deeper), "")


@cache
def _nested_kinds(cls: type[Any]) -> dict[str, Any]:
    """{field: its type, or None where that holds no dataclass} of a dataclass."""
    hints = get_type_hints(cls)
    return {item.name: hints[item.name] if _holds_dataclass(hints[item.name]) else None for item in fields(cls)}


def _holds_dataclass(kind: Any) -> bool:
    return is_dataclass(kind) or any(map(_holds_dataclass, get_args(kind)))
