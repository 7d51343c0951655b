"""A session keeps no more after minutes than it does at first (the times themselves: `python -m tests.bench.long_session`)."""

import pytest

from tests.bench.long_session import minutes_of, new_session


@pytest.mark.parametrize("system", ["echo", pytest.param("freeze-omni", marks=pytest.mark.slow)])
def test_what_a_session_keeps_is_bounded(system):
    found = list(minutes_of(*new_session(system), minutes=4))
    assert all(minute.events for minute in found)
    assert found[3].numbers <= 2 * max(minute.numbers for minute in found[:2])
