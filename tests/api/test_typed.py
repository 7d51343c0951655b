"""The converter: plain data and text become typed values, or a sentence says what is allowed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from fobench.api import typed
from fobench.errors import FobenchError

HUGE = 10**400  # more than a float can be


@dataclass(frozen=True)
class Ball:
    radius: float
    colors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cube:
    edge: float


@dataclass(frozen=True)
class Box:
    name: str
    content: Ball | Cube
    lid: Cube | None = None
    ball: Ball = field(default_factory=lambda: Ball(1.0))
    count: int = 1
    state: Literal["open", "shut"] = "shut"


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("3", int, 3),
        (" 3 ", int, 3),
        ("+3", float, 3.0),
        ("2e3", int, 2000),
        ("3", str, "3"),
        ("3", str | None, "3"),
        ("None", str | None, None),
        ("none", int | None, None),
        ("none", Literal["none", "all"] | None, "none"),
        ("Yes", bool, True),
        ("0", bool, False),
        ("no", Literal["no", "bf16"], "no"),
        ("inf", float, float("inf")),
        ("[1, 2]", tuple[float, float], (1.0, 2.0)),
        ('{"a": 1}', Mapping[str, Any] | None, {"a": 1}),
        ("a/b", Path | None, Path("a/b")),
    ],
)
def test_text_becomes_the_value_it_stands_for(text, kind, value):
    made = typed.convert(text, kind, text=True)
    assert made == value and type(made) is type(value)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ("x", int, "must be a whole number"),
        (True, int, "must be a whole number"),
        (1.5, int, "must be a whole number"),
        (float("inf"), int, "must be a whole number"),
        (float("nan"), float, "must be a number, not NaN"),
        (HUGE, float, "must be a number"),
        (HUGE, int, "must be a whole number of at most 1024 bits"),
        (True, float | None, "must be a number or none"),
        (1, bool, "must be true or false"),
        (1, str, "must be a text"),
        ("x", Literal["a", "b"], "must be one of a, b"),
        ("x", Literal["a", "none"] | None, "must be one of a, none"),
        ([1], tuple[float, float], "must be a list of 2 numbers"),
        ([[1], ["a"]], tuple[tuple[int, ...], ...], "must be a list of lists of whole numbers"),
        ({"a": [1]}, dict[str, str | float], "must be a table of texts, numbers"),
        ([], Mapping[str, Any], "must be a table"),
    ],
)
def test_data_of_the_wrong_type_is_told_in_words(value, kind, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        typed.convert(value, kind)


@pytest.mark.parametrize("text", ["nan", "9" * 5000, "1e999", "", "[", "NaN"])
@pytest.mark.parametrize("kind", [int, float, int | None, bool, tuple[float, float]])
def test_no_text_is_a_traceback(text, kind):
    try:
        typed.convert(text, kind, text=True)
    except ValueError as error:
        assert str(error).startswith("must be ")


def test_what_is_no_plain_data_is_handed_on():
    given = object()
    assert typed.convert(given, int) is given
    assert typed.convert("x", "a kind that msgspec does not know") == "x"


def test_a_number_that_python_refuses_to_write_is_told():
    assert typed.shown(16**5000) == "a number of thousands of digits"
    assert typed.shown("a") == "'a'"


def box(**data):
    return typed.read(
        Box, {"name": "a", "content": {"kind": "cube", "edge": 2}, **data}, "box", {"ball": Ball, "cube": Cube}
    )


def test_tables_become_dataclasses():
    assert box() == Box("a", Cube(2.0))
    made = box(content={"kind": "ball", "radius": 2, "colors": ["red"]}, lid={"edge": 1}, ball={"radius": 3})
    assert made == Box("a", Ball(2.0, ("red",)), Cube(1.0), Ball(3.0))
    assert box(lid=None).lid is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"nmae": "b"}, "Unknown key in box 'nmae'. Did you mean 'name'"),
        ({"count": True}, "box: count is True; it must be a whole number."),
        ({"count": 1.0}, "box: count is 1.0; it must be a whole number."),
        ({"state": "ajar"}, "box: state is 'ajar'; it must be one of open, shut."),
        ({"ball": {"radius": HUGE}}, "box: ball: radius is 1000"),
        ({"ball": {}}, "box: ball lacks radius."),
        ({"ball": 3}, "box: ball must be a table, not 3."),
        ({"content": {"kind": "bal"}}, "Unknown kind of box: content 'bal'. Did you mean 'ball'"),
        ({"content": {"edge": 1}}, "Unknown kind of box: content 'None'"),
        ({"content": "cube"}, "box: content must be a table, not 'cube'."),
        ({"lid": {"edge": "x"}}, "box: lid: edge is 'x'; it must be a number."),
    ],
)
def test_a_table_that_does_not_fit_is_told_by_its_key(data, message):
    with pytest.raises(FobenchError) as told:
        box(**data)
    assert str(told.value).startswith(message)
