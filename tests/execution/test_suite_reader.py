"""Whatever a suite does instead of yielding scenarios is told in one sentence, before a run begins."""

import itertools
import sys
from dataclasses import replace

import pytest

from fobench.api.option_ranges import Between
from fobench.api.registry import ComponentSpec
from fobench.api.scenario import Anchor, Scenario, Turn
from fobench.errors import FobenchError
from fobench.execution import suite_reader

GOOD = Scenario("a", "toy", 0, (Turn("a.wav", ""),))


class Suite:
    def __init__(self, make):
        self.scenarios = lambda seed: make()


def late():
    yield GOOD
    raise RuntimeError("midway")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: iter([1]), "yields a int instead of a fobench.api.Scenario"),
        (lambda: None, "'NoneType' object is not iterable"),
        (late, "RuntimeError: midway"),
        (lambda: sys.exit(5), "SystemExit: 5"),
        (lambda: iter([GOOD, GOOD]), "yields the scenario 'a' twice"),
        (lambda: iter([replace(GOOD, id="")]), "without an id"),
        (lambda: iter([replace(GOOD, id=7)]), "id has the wrong type"),
        (lambda: iter([replace(GOOD, tags={"x": {1}})]), "is of type set"),
        (lambda: iter([replace(GOOD, patience_ns=10**17)]), "patience_ns=100000000000000000; it must be from 0"),
        (lambda: iter([replace(GOOD, turns=(Turn("a", "", anchor=Anchor(delay_ns=-1)),))]), "delay_ns=-1"),
        (lambda: iter([replace(GOOD, tags={"x": "\ud800"})]), "lone surrogate"),
        (lambda: (replace(GOOD, id=str(i)) for i in itertools.count()), "more than 50 scenarios"),
    ],
)
def test_it_is_told_what_a_suite_does_instead(make, message, registered, monkeypatch):
    monkeypatch.setattr(suite_reader, "SCENARIOS", Between(1, 50))
    registered(suites=Suite(make))
    with pytest.raises(FobenchError, match=r"^The suite 'toy' cannot be read: ") as error:
        list(suite_reader.scenarios(ComponentSpec("suites", "toy"), 0, 5.0))
    assert message in str(error.value)


def test_good_scenarios_are_handed_on(registered):
    registered(suites=Suite(lambda: iter([GOOD, replace(GOOD, id="b")])))
    assert list(suite_reader.scenarios(ComponentSpec("suites", "toy"), 0, 5.0)) == [GOOD, replace(GOOD, id="b")]
