"""The registry: components by name, options checked and converted, plugins that clash or cannot load named."""

import pickle
import typing
from importlib.metadata import EntryPoint
from types import UnionType
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.api import registry, typed
from fobench.api.hookspecs import hookimpl
from fobench.api.option_ranges import Between
from fobench.errors import FobenchError


def toy(
    path: str = "",
    *,
    count: int = 1,
    level: float = 0.5,
    quiet: bool = False,
    pace: Literal["slow", "fast"] = "slow",
    limit: int | None = None,
):
    return {"path": path, "count": count, "level": level, "quiet": quiet, "pace": pace, "limit": limit}


class Toys:
    """A plugin with one plain voice and a family."""

    @hookimpl
    def fobench_voices(self):
        return {"toy": toy, "toys:": toy}


class OtherToys(Toys):
    pass


@pytest.fixture(autouse=True)
def fresh():
    """Each test sees the registry as a new process would."""
    registry.manager.cache_clear()
    registry.factories.cache_clear()
    yield
    registry.manager.cache_clear()
    registry.factories.cache_clear()


@pytest.fixture
def toys():
    registry.manager().register(Toys(), name="toys")


def points(*values):
    return lambda group: [EntryPoint(name, value, group) for name, value in values]


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_kind_can_be_listed(kind):
    assert all(callable(factory) for factory in registry.factories(kind).values())


def test_an_unknown_kind_gets_its_nearest():
    with pytest.raises(FobenchError, match="Did you mean 'systems'"):
        registry.factories("system")


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("suites", "control", r"Unknown suite 'control'\. Did you mean 'controls'\?"),
        ("systems", "scripted:lte", "Did you mean 'scripted:late'"),
        ("systems", "zzz", "Choices: cascade, "),
        ("suites", "manifest", r"manifest:\.\.\."),
        ("suites", "manifest:", r"manifest:\.\.\."),
        ("suites", "", "Unknown suite ''"),
    ],
)
def test_an_unknown_name_gets_the_nearest_and_the_choices(kind, name, message):
    with pytest.raises(FobenchError, match=message):
        registry.create(kind, name)


def test_a_family_gets_what_follows_the_colon(toys):
    assert registry.create("voices", "toys:some/model:7", {"count": "3"})["path"] == "some/model:7"
    assert registry.create("voices", "toy")["path"] == ""


def test_text_values_become_the_annotated_types(toys):
    options = {"count": "3", "level": "0.25", "quiet": "yes", "pace": "fast", "limit": "9"}
    made = registry.create("voices", "toy", options)
    assert made == {"path": "", "count": 3, "level": 0.25, "quiet": True, "pace": "fast", "limit": 9}
    assert registry.create("voices", "toy", {"limit": "none"})["limit"] is None


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("cuont", "1", "Unknown option of voice 'toy' 'cuont'. Did you mean 'count'"),
        ("count", "three", "count='three' of voice 'toy'"),
        ("count", "1.5", "count='1.5'"),
        ("level", "", "level=''"),
        ("quiet", "maybe", "must be true or false"),
        ("pace", "medium", "must be one of slow, fast"),
        ("limit", "few", "limit='few'"),
    ],
)
def test_a_wrong_option_is_refused_by_name(toys, option, value, message):
    with pytest.raises(FobenchError, match=message):
        registry.create("voices", "toy", {option: value})


@given(st.integers(), st.floats(allow_nan=False), st.booleans(), st.sampled_from(["slow", "fast"]))
def test_options_survive_the_way_over_text(count, level, quiet, pace):
    given_values = {"count": count, "level": level, "quiet": quiet, "pace": pace}
    types = registry.option_types(toy)
    assert {k: typed.convert(str(v), types[k], text=True) for k, v in given_values.items()} == given_values
    assert {k: typed.convert(v, types[k]) for k, v in given_values.items()} == given_values


@given(st.text())
def test_any_text_is_converted_or_refused_with_a_message(text):
    for kind in (int, float, bool, int | None, Literal["slow", "fast"]):
        try:
            typed.convert(text, kind, text=True)
        except ValueError as error:
            assert str(error)


@given(st.text(max_size=20))
def test_any_unknown_name_is_an_error_for_users(name):
    with pytest.raises(FobenchError):
        registry.find("codecs", "no such " + name)


def test_a_spec_is_checked_once_and_goes_to_another_process(toys, monkeypatch):
    made = pickle.loads(pickle.dumps(registry.spec("voices", "toys:x", {"count": "3"})))
    assert made == registry.ComponentSpec("voices", "toys:x", {"count": 3})
    monkeypatch.setattr(typed, "convert", None)
    assert registry.create(made)["count"] == 3


def test_two_claimants_of_a_name_are_both_named(toys):
    registry.manager().register(OtherToys(), name="other-toys")
    with pytest.raises(FobenchError, match=r"Two plugins claim the voice 'toy': '(other-)?toys' and '(other-)?toys'"):
        registry.factories("voices")


def test_a_plugin_that_fails_to_import_is_named(monkeypatch):
    monkeypatch.setattr(registry, "entry_points", points(("broken", "no_such_module_anywhere")))
    with pytest.raises(FobenchError, match=r"Plugin 'broken' \(no_such_module_anywhere\) cannot be loaded"):
        registry.factories("voices")


# ---- Ranges ----------------------------------------------------------------------------------------------------------


def ranged(count: Annotated[int, Between(1, 10)] = 3, level: Annotated[float, Between(-1.0, 1.0)] | None = None):
    return count, level


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": "0"}, "Option count='0' of voice 'toy': must be a whole number from 1 to 10"),
        ({"count": 11}, "must be a whole number from 1 to 10"),
        ({"count": "1e30"}, "must be a whole number"),
        ({"level": "1.5"}, "must be a number or none, from -1 to 1"),
        ({"level": "inf"}, "must be a number or none, from -1 to 1"),
        ({"level": "nan"}, "not NaN"),
        ({"count": "1\0"}, "must be a text without null characters and lone surrogates"),
        ({"count": "\ud800"}, "must be a text without null characters and lone surrogates"),
    ],
)
def test_a_value_out_of_its_annotated_range_is_refused(registered, options, message):
    registered(voices=ranged)
    with pytest.raises(FobenchError, match=message):
        registry.spec("voices", "toy", options)
    assert registry.spec("voices", "toy", {"count": "10", "level": "none"}).options == {"count": 10, "level": None}


@given(count=st.integers(1, 10), level=st.floats(-1, 1) | st.none())
def test_a_value_in_its_range_is_taken(count, level):
    kinds = registry.option_types(ranged)
    assert typed.convert(str(count), kinds["count"], text=True) == count
    assert typed.convert(str(level), kinds["level"], text=True) == level


@pytest.mark.parametrize("kind", registry.KINDS)
def test_no_number_of_a_shipped_component_is_without_a_range(kind):
    for name, factory in registry.factories(kind).items():
        for option, annotated in registry.option_types(factory, skip=name.endswith(":")).items():
            members = (
                typing.get_args(annotated)
                if typing.get_origin(annotated) in (typing.Union, UnionType)
                else (annotated,)
            )
            assert not {int, float} & {*members}, f"{kind} {name}: {option}"
