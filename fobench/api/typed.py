"""Conversion of plain data (TOML, JSON) and of text (a command line) to typed values by `msgspec.convert`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import date, time
from functools import reduce
from operator import or_
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from fobench.api.option_ranges import Between
from fobench.errors import FobenchError, unknown

UNUSABLE = re.compile("[\0\ud800-\udfff]")  # null characters and halves of characters
PLAIN = (str, int, float, bool, NoneType, list, tuple, dict)
LONGEST_BITS = 1024  # of a whole number: as large as the largest float
LONGEST_SHOWN = 200  # characters of a value in a message
WORDS = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false"),
    str: ("a text", "texts"),
    NoneType: ("none", "none"),
}


def convert(value: Any, kind: Any, *, text: bool = False) -> Any:
    """`value` as `kind`: a scalar, a Literal, a list, a tuple, a table, a class that takes one value, or a union of these.

    `text`: a value may also be written as text, lists and tables as JSON. A value that is no plain data, or of a kind that
    msgspec does not know, is handed on unchecked. Raises ValueError saying what is allowed, e.g. "must be a whole number".
    """
    import msgspec  # here, because `fobench --help` converts nothing

    if isinstance(value, date | time):  # of a TOML file
        raise ValueError(f"must be {words(kind)}")
    if type(value) not in PLAIN:
        return value
    kind, allowed = without_range(kind)
    try:
        if text and isinstance(value, str):
            value = _parsed(value, kind)
        result = msgspec.convert(value, kind, strict=not text, dec_hook=lambda cls, value: cls(value))
    except TypeError:
        return value
    except ValueError as error:
        raise ValueError(f"must be {words(kind)}") from error
    if isinstance(result, float) and result != result:
        raise ValueError(f"must be {words(kind)}, not NaN")
    if isinstance(result, int) and result.bit_length() > LONGEST_BITS:
        raise ValueError(f"must be {words(kind)} of at most {LONGEST_BITS} bits")
    if allowed and isinstance(result, int | float) and not allowed.low <= result <= allowed.high:
        raise ValueError(f"must be {words(kind)}{',' if NoneType in get_args(kind) else ''} {allowed}")
    return result


def usable(value: Any) -> Any:
    """The value. Raises ValueError for a text that no file can hold."""
    if isinstance(value, str) and UNUSABLE.search(value):
        raise ValueError("must be a text without null characters and lone surrogates (half characters)")
    return value


def words(kind: Any, many: bool = False) -> str:
    """A type in words: "a whole number", "true or false", "one of a, b", "a list of texts"; `many`: in the plural."""
    kind, _ = without_range(kind)
    arguments, origin = get_args(kind), get_origin(kind) or kind
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (Union, UnionType):
        names = [words(member, many) for member in _members(kind)]
        return (", " if many else " or ").join(names)
    if origin in WORDS:
        return WORDS[origin][many]
    if not inspect.isclass(origin):
        return str(kind)
    if is_dataclass(origin) or issubclass(origin, Mapping):
        of = arguments[1:] if arguments[1:] != (Any,) else ()
        return ("tables" if many else "a table") + "".join(f" of {words(item, many=True)}" for item in of)
    if arguments:
        length = f"{len(arguments)} " if origin is tuple and Ellipsis not in arguments else ""
        return f"{'lists' if many else 'a list'} of {length}{words(arguments[0], many=True)}"
    return f"a {origin.__name__}"


def read(cls: type[Any], data: Any, where: str, variants: Mapping[str, type[Any]]) -> Any:
    """The dataclass `cls` from a table of plain data, and the dataclasses in it from the tables in that.

    `variants`: {kind: dataclass}; where a field is one of several dataclasses, the key `kind` of its table says which.
    Raises `FobenchError`, beginning with `where`, naming the key that is unknown, missing or of the wrong type.
    """
    if not isinstance(data, Mapping):
        raise FobenchError(f"{where} must be a table, not {shown(data)}.")
    hints, known = get_type_hints(cls), {field.name: field for field in fields(cls)}
    values = {}
    for key, value in data.items():
        if key not in known:
            raise unknown(f"key in {where}", key, known)
        values[key] = _field(hints[key], value, f"{where}: {key}", variants)
    required = [name for name, field in known.items() if field.default is field.default_factory is MISSING]
    if missing := [name for name in required if name not in values]:
        raise FobenchError(f"{where} lacks {', '.join(missing)}.")
    return cls(**values)


def shown(value: Any) -> str:
    """A value in a message, as Python writes it, shortened; Python refuses to write the largest whole numbers."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def without_range(kind: Any) -> tuple[Any, Between | None]:
    """A type without its range, and the range; also of `Annotated[int, Between(0, 10)] | None`."""
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    ranges = [note for member in members if get_origin(member) is Annotated for note in member.__metadata__]
    allowed = next((note for note in ranges if isinstance(note, Between)), None)
    if allowed is None:
        return kind, None
    plain = tuple(get_args(member)[0] if get_origin(member) is Annotated else member for member in members)
    return reduce(or_, plain), allowed


def _members(kind: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type. None is left out where a Literal beside it has the choice "none"."""
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    has_choice = any(get_origin(member) is Literal and "none" in get_args(member) for member in members)
    return tuple(member for member in members if not (has_choice and member is NoneType))


def _parsed(text: str, kind: Any) -> Any:
    """What `text` stands for, as far as msgspec does not see to it."""
    import msgspec

    members = _members(kind)
    if NoneType in members and text.lower() == "none":
        return None
    if str in members or any(get_origin(member) is Literal for member in members):
        return text
    text = text.strip().removeprefix("+")
    if bool in members:
        return {"yes": "true", "no": "false"}.get(text.lower(), text)
    classes = [cls for member in members if inspect.isclass(cls := get_origin(member) or member)]
    return msgspec.json.decode(text) if any(issubclass(cls, list | tuple | Mapping) for cls in classes) else text


def _field(kind: Any, value: Any, where: str, variants: Mapping[str, type[Any]]) -> Any:
    classes: list[Any] = [member for member in _members(kind) if is_dataclass(member)]
    if not classes or (value is None and NoneType in _members(kind)):
        try:
            return convert(value, kind)
        except ValueError as error:
            raise FobenchError(f"{where} is {shown(value)}; it {error}.") from error
    if len(classes) > 1 and isinstance(value, Mapping):
        choices = {name: cls for name, cls in variants.items() if cls in classes}
        if (name := str(value.get("kind"))) not in choices:
            raise unknown(f"kind of {where}", name, choices)
        classes, value = [choices[name]], {key: item for key, item in value.items() if key != "kind"}
    return read(classes[0], value, where, variants)
