"""Predicted states against the true ones, on hand-made timelines."""

from dataclasses import replace

import pytest

from fobench.api import registry
from fobench.api.types import NS_PER_MS as MS
from fobench.api.types import Event, EventKind
from tests.support.traces import duplex_trace


def scored(metric, *traces):
    made = registry.create("metrics", metric)
    scores = [made.score(trace, trace.scenario) for trace in traces]
    return scores, made.aggregate(scores)[0]


def told(user, *states, kind=EventKind.STATE):
    """A trace in which a state is told at each (ms, state)."""
    data = {at: {f"p{i}": 0.8 if i == state else 0.1 for i in range(3)} for at, state in states}
    events = tuple(Event(kind, data[at], media_ns=at * MS, compute_ns=at * MS) for at, _ in states)
    return replace(duplex_trace(user), events=events)


def test_a_turn_is_told_by_the_first_end_since_it_began():
    asked = told([("question", 500, 2000)], (600, 0), (1900, 0), (2060, 1), (2220, 2))
    ignored = told([("backchannel", 500, 900)], (700, 0), (1000, 2))
    missed = told([("question", 500, 2000)], (700, 0), (2500, 0))
    late = told([("question", 500, 2000)], (700, 0), (5001, 1))
    (one, two, three, four), total = scored("state_f1", asked, ignored, missed, late)
    assert (one.value, two.value, three.value, four.value) == (1.0, 1.0, 0.0, 0.0)
    assert total.detail["confusion"] == [[0, 0, 0], [2, 1, 0], [0, 0, 1]]
    assert total.detail["f1"] == {"0": 0.0, "1": 0.5, "2": 1.0}
    assert total.value == pytest.approx(0.5)
    assert total.n == 4


def test_after_a_fragment_the_turn_goes_on():
    user = [("fragment", 500, 1500), ("question", 2700, 4000)]
    (right,), _ = scored("state_f1", told(user, (1600, 0), (4100, 1)))
    (wrong,), total = scored("state_f1", told(user, (1600, 1), (4100, 1)))
    assert (right.value, wrong.value) == (1.0, 0.5)
    assert total.detail["confusion"] == [[0, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_states_that_nothing_is_about_count_for_nothing():
    _, total = scored("state_f1", told([("question", 500, 2000)], (2100, 1)))
    assert total.detail["f1"] == {"0": None, "1": 1.0, "2": None}
    assert total.value == 1.0


def test_what_a_system_without_states_did_is_its_decisions():
    user = [("question", 500, 2000), ("backchannel", 4000, 4300)]
    trace = duplex_trace(user)
    spoke = Event(EventKind.DECISION, {"action": "speak"}, media_ns=2600 * MS)
    ignored = Event(EventKind.DECISION, {"action": "ignore"}, media_ns=4900 * MS)
    (score,), _ = scored("decision_f1", replace(trace, events=(spoke, ignored)))
    assert score.value == 1.0
    (none,), _ = scored("state_f1", replace(trace, events=(spoke, ignored)))
    assert none.reason == "the system reports no states"


def test_the_delay_counts_judged_chunks_from_the_true_end():
    user = [("question", 500, 2000)]
    chunks = [(160 * i, 0) for i in range(1, 13)]  # until 1920 ms
    (score,), _ = scored("state_delay_chunks", told(user, *chunks, (2080, 0), (2240, 1)))
    assert score.value == 2.0
    (early,), total = scored("state_delay_chunks", told(user, *chunks[:10], (1760, 1), (1920, 0), (2080, 0)))
    assert early.value == -1.0
    assert total.detail["early"] == 1
    (never,), _ = scored("state_delay_chunks", told(user, (2080, 0)))
    assert never.reason == "no turn's end was told"
