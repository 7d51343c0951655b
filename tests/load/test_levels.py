"""What a level of conversations at a time was like, and the most that keep real time."""

from dataclasses import replace

import pytest

from fobench.api.scenario import Scenario
from fobench.execution import conversations
from fobench.load import levels
from fobench.load.levels import LoadLevel
from fobench.load.load_report import LONGEST_EXAMPLE, LoadReport
from tests.support.live.played import MS, driver, question
from tests.support.traces import qa_trace


def late(ms, **changes):
    """A conversation whose audio was handed over late."""
    trace = qa_trace("a", **changes)
    return replace(trace, compute={**trace.compute, "lag_ns": ms * MS})


def real_time(*traces):
    return LoadLevel(1, list(traces)).summary()["real_time"]


def test_a_level_is_told_in_numbers():
    found = LoadLevel(2, [late(0, gaps=[50, 80]), late(100), late(20, failure="died")], wall_s=1.25).summary()
    counts = {name: found[name] for name in ("sessions", "conversations", "failed", "replies", "wall_s")}
    assert counts == {"sessions": 2, "conversations": 3, "failed": 1, "replies": 3, "wall_s": 1.2}
    assert found["gaps_per_reply"] == 1.0  # of the two that did not fail
    assert found["response_p50_ms"] == 700
    assert found["lag_p90_ms"] == 90
    assert found["failures"] == {"died": {"count": 1, "example": "as planted"}}


def test_real_time_is_kept_without_failures_without_many_gaps_and_in_time():
    assert real_time(late(400), late(500))
    assert not real_time(late(501))
    assert not real_time(late(0), late(0, failure="died"))
    assert real_time(*[late(0)] * 9, late(0, gaps=[50]))
    assert not real_time(*[late(0)] * 8, late(0, gaps=[50]))
    assert not real_time()


def test_the_largest_is_below_the_first_that_fails():
    def level(sessions, lag_ms):
        return LoadLevel(sessions, [late(lag_ms)])

    assert levels.largest([level(4, 0), level(1, 0), level(2, 900)]) == 1
    assert levels.largest([level(1, 0), level(2, 0)]) == 2
    assert levels.largest([level(1, 900), level(2, 0)]) == 0


def test_the_example_of_a_failure_is_cut():
    level = LoadLevel(1, [qa_trace("a")]).summary()
    level["failures"] = {"died": {"count": 1, "example": "x" * 1000}}
    report = LoadReport("a", "s", {}, False, [1], [level])
    assert report.failures() == [("1", "died", "1", "x" * LONGEST_EXAMPLE)]


@pytest.mark.usefixtures("short_tail")
def test_all_sessions_hold_as_many_conversations(tmp_path, monkeypatch):
    monkeypatch.setattr(conversations, "STAGGER_S", 0.05)
    drivers = [driver("scripted:late", delay_ms=100, reply_ms=100) for _ in range(2)]
    scenarios, told = [Scenario(name, "t", 0, (question(tmp_path),)) for name in "ab"], []
    level = levels.measure(drivers, scenarios, 2, told.append)
    assert sorted(trace.id for trace in level.traces) == ["a", "a", "b", "b"]
    assert level.traces == told
    assert level.summary()["response_p50_ms"] == pytest.approx(100, abs=60)
    assert level.wall_s > 1.4  # two after each other, of 0.76 s each
