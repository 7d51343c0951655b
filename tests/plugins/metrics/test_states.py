"""Predicted states against the true ones, on hand-made timelines."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.api import registry
from fobench.api.types import NS_PER_MS as MS
from fobench.api.types import Event, EventKind, Score
from tests.plugins.metrics.scoring import scored
from tests.support.traces import duplex_trace


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
    assert total.detail["f1"] == {"0": None, "1": 0.5, "2": 1.0}
    assert total.value == pytest.approx(0.75)  # 0 never occurs; that it is predicted lowers the recall of 1
    assert total.n == 4
    assert total.detail["precision"] == {"0": 0.0, "1": 1.0, "2": 1.0}
    assert total.detail["recall"] == {"0": None, "1": pytest.approx(1 / 3), "2": 1.0}
    assert total.detail["support"] == {"0": 0, "1": 3, "2": 1}


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30))
def test_macro_f1_is_the_mean_over_the_true_states(cases):
    """Against the definition, written out by state."""
    f1 = []
    for state in {true for true, _ in cases}:
        hits = sum(true == predicted == state for true, predicted in cases)
        wrong = sum((true == state) != (predicted == state) for true, predicted in cases)
        f1.append(2 * hits / (2 * hits + wrong))
    metric = registry.create("metrics", "state_f1")
    total = metric.aggregate([Score("state_f1", 2, 0.0, "share", 1, detail={"cases": [list(c) for c in cases]})])[0]
    assert total.value == pytest.approx(sum(f1) / len(f1))
    assert sum(total.detail["support"].values()) == len(cases)


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
    assert (total.value, total.detail["early"], total.detail["early_share"]) == (None, 1, 1.0)
    (never,), _ = scored("state_delay_chunks", told(user, (2080, 0)))
    assert never.reason == "no turn's end was told"
