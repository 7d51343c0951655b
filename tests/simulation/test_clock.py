"""Clocks and cost tables."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import NS_PER_S, Event, EventKind, ns_to_samples, samples_to_ns
from fobench.errors import FobenchError
from fobench.simulation.clock import VirtualClock, WallClock
from fobench.simulation.costs import Cost, CostTable, step_name


@given(st.integers(0, 10**10), st.integers(1, 384_000))
def test_samples_survive_the_way_through_nanoseconds(samples, rate):
    assert ns_to_samples(samples_to_ns(samples, rate), rate) == samples


@given(st.lists(st.integers(0, 10**9)))
def test_virtual_time_never_runs_backwards(waits):
    clock, last = VirtualClock(), 0
    for wait in waits:
        clock.wait_until(wait)
        clock.spend(None, 5)
        assert clock.now_ns >= max(last + 5, wait)
        last = clock.now_ns


def test_measured_costs_pass_as_they_are():
    clock = VirtualClock()
    assert clock.spend(Event(EventKind.TOKEN), 7) == 7
    assert clock.now_ns == 7


def test_declared_costs_replace_measured_ones():
    clock = VirtualClock(CostTable({"token": Cost(fixed_ns=40)}))
    assert clock.spend(Event(EventKind.TOKEN), 7) == 40
    assert clock.now_ns == 40


def test_an_empty_table_means_that_every_step_is_free():
    assert VirtualClock(CostTable()).spend(Event(EventKind.TOKEN), 7) == 0


def test_a_step_that_the_table_lacks_is_refused_with_the_choices():
    with pytest.raises(FobenchError, match=r"no step 'audio'; it has token"):
        VirtualClock(CostTable({"token": Cost(1)})).spend(Event(EventKind.AUDIO, {"duration_ns": 5}), 7)


def test_a_speculative_step_costs_what_it_does_and_its_adoption_nothing():
    table = CostTable({"token": Cost(fixed_ns=40), "audio": Cost(per_media_s_ns=100)})
    ahead = [
        Event(EventKind.BUSY, {"work": "speculative token"}),
        Event(EventKind.BUSY, {"work": "speculative audio", "duration_ns": 2 * NS_PER_S}),
        Event(EventKind.TOKEN, {"work": "adopted"}),
        Event(EventKind.AUDIO, {"work": "adopted", "duration_ns": 2 * NS_PER_S}),
    ]
    assert [VirtualClock(table).spend(event, 7) for event in ahead] == [40, 200, 0, 0]
    own = CostTable({**table.costs, "speculative token": Cost(50), "adopted": Cost(1)})
    assert [VirtualClock(own).spend(event, 7) for event in ahead] == [50, 200, 1, 1]


def test_a_step_may_name_its_work():
    assert step_name(Event(EventKind.TOKEN, {"work": "first_token"})) == "first_token"
    assert step_name(Event(EventKind.TOKEN)) == "token"
    assert step_name(None) == "idle"


def test_a_table_is_fitted_to_traces_and_survives_a_file(tmp_path):
    events = [Event(EventKind.TOKEN, {}, cost_ns=cost) for cost in (10, 30, 20)]
    events.append(Event(EventKind.AUDIO, {"duration_ns": 2 * NS_PER_S}, cost_ns=100))
    trace = Trace(
        Scenario("a", "s", 0, ()), "virtual", "measured", 0, tuple(events), compute={"idle_ns": 12, "idle_steps": 4}
    )
    table = CostTable.fit([trace])
    assert table.costs == {"token": Cost(fixed_ns=20), "audio": Cost(per_media_s_ns=50), "idle": Cost(fixed_ns=3)}
    path = tmp_path / "costs.json"
    path.write_text(__import__("json").dumps(table.to_json()))
    assert CostTable.load(path) == table


def test_a_broken_table_is_named(tmp_path):
    path = tmp_path / "costs.json"
    path.write_text("{}")
    with pytest.raises(FobenchError, match=r"costs\.json cannot be read"):
        CostTable.load(path)


def test_wall_time_waits_for_absolute_deadlines():
    """Waits of 4 to 20 ms from where each began would be 60 ms. The quickest of ten counts: other work delays some."""
    ends = []
    for _ in range(10):
        clock = WallClock()
        for tick in range(1, 6):
            clock.wait_until(tick * 4_000_000)
        ends.append(clock.now_ns)
    assert 20_000_000 <= min(ends) < 60_000_000


def test_the_wall_clock_takes_the_stamp_of_an_event_in_real_time():
    clock = WallClock()
    stamp = time.perf_counter_ns()
    time.sleep(0.02)
    stamped, unstamped = Event(EventKind.BUSY, compute_ns=stamp), Event(EventKind.BUSY)
    assert clock.time_of(stamped) < 10_000_000 < clock.time_of(unstamped)
    assert clock.time_of(Event(EventKind.BUSY, compute_ns=0)) == 0  # from before the conversation
    assert clock.time_of(Event(EventKind.BUSY, compute_ns=stamp + 10**12)) <= clock.now_ns  # not in the future
    assert VirtualClock().time_of(stamped) == 0
