"""What is checked of a system before anything is asked of it."""

import pytest

from fobench.api.registry import ComponentSpec
from fobench.errors import FobenchError
from fobench.execution import system_driver


class System:
    input_rate_hz, output_rate_hz, chunk = 16_000, 24_000, 320

    def open(self, seed): ...


@pytest.mark.parametrize("name", ["input_rate_hz", "output_rate_hz", "chunk"])
@pytest.mark.parametrize("value", [0, -1, 0.5, 320.0, True, None, "320"])
def test_rates_and_chunk_are_whole_and_positive(name, value):
    system = System()
    setattr(system, name, value)
    with pytest.raises(
        FobenchError, match=rf"System 'mine' cannot be run: its {name} must be an int > 0, not {value!r}"
    ):
        system_driver.checked("mine", system)


def test_what_cannot_be_opened_is_no_system():
    closed = type("Closed", (System,), {"open": None})()
    with pytest.raises(FobenchError, match=r"System 'mine' .*its factory returned a Closed, which has no open\(seed\)"):
        system_driver.checked("mine", closed)
    with pytest.raises(FobenchError, match="System 'mine'"):
        system_driver.checked("mine", None)


def test_a_good_system_is_handed_on():
    system = System()
    assert system_driver.checked("mine", system) is system


def test_a_drivers_system_is_checked(monkeypatch):
    monkeypatch.setattr(system_driver.registry, "create", lambda spec: None)
    with pytest.raises(FobenchError, match="System 'mine' cannot be run"):
        system_driver.LocalDriver(ComponentSpec("systems", "mine"))
