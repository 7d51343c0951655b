"""The conformance suite finds a component by its name, and passes what keeps its contract."""

import pytest

from fobench.api import registry
from fobench.conformance import suite
from fobench.errors import FobenchError
from tests.support.live.served import served

pytestmark = pytest.mark.usefixtures("home")


# ---- Finding the component -------------------------------------------------------------------------------------------


def test_a_name_alone_tells_its_kind():
    assert suite.find_kind("controls") == "suites"
    assert suite.find_kind("scripted:late") == "systems"
    assert suite.find_kind("manifest:some/folder") == "suites"


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(FobenchError, match=r"Unknown component 'controlls'\. Did you mean 'controls'"):
        suite.find_kind("controlls")


def test_a_name_of_two_kinds_needs_its_kind(registered):
    registered(codecs=None, voices=None)
    with pytest.raises(FobenchError, match="add --kind codecs or --kind voices"):
        suite.find_kind("toy")


def test_a_wrong_option_is_refused():
    with pytest.raises(FobenchError, match="Did you mean 'delay_ms'"):
        suite.check("systems", "scripted:late", {"delay": 3})


def test_a_factory_that_fails_is_a_finding(findings):
    def factory():
        raise ValueError("no such luck")

    (message,) = findings("voices", factory).values()
    assert message.startswith("raised ValueError: no such luck at test_suite.py:")


# ---- Built-in components ---------------------------------------------------------------------------------------------

SCRIPTED = ("talking", "echo", "late", "yields", "never-yields", "yields-always", "gibberish")


@pytest.mark.parametrize("name", SCRIPTED)
def test_the_controls_keep_the_contract_of_systems(name):
    assert all(check.ok for check in suite.check("systems", f"scripted:{name}"))


def test_a_system_that_does_not_reply_fails():
    wrong = [check for check in suite.check("systems", "scripted:silent") if not check.ok]
    assert [check.name for check in wrong] == ["audio"]
    assert "nothing can be measured" in wrong[0].message


def test_a_system_in_real_time_is_asked_in_real_time():
    with served(
        registry.create("systems", "scripted:late", {"hangover_ms": 600, "delay_ms": 900, "writes": "Paris."})
    ) as (url, _):
        checks = {check.name: check for check in suite.check("systems", f"realtime:{url}")}
    assert all(check.ok for check in checks.values()), checks
    latency_ms = int(checks["times"].message.split()[2])
    assert 650 <= latency_ms <= 1000  # its detector takes the end of the sound for earlier


@pytest.mark.parametrize("kind", ["metrics", "reporters"])
def test_every_built_in_keeps_its_contract(kind):
    names = [name for name in registry.factories(kind) if not name.endswith(":")]  # a family needs the name of a member
    wrong = {name: check for name in names for check in suite.check(kind, name) if not check.ok}
    assert not wrong


@pytest.mark.parametrize("name", ["controls", "spoken-qa"])
def test_the_suites_keep_their_contract(name):
    assert all(check.ok for check in suite.check("suites", name))
