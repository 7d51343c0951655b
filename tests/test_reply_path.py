"""The profile of a run's replies: the parts of a response add up to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fobench.api.trace import Underrun
from fobench.api.types import NS_PER_MS as MS
from fobench.api.types import Event, EventKind
from tests.bench.reply_path import ENDPOINT, QUIET, TOTAL, WAITING, profile, reply_path, report
from tests.support.traces import qa_trace


@pytest.fixture
def trace():
    """Asked until 2000; work at 2200 before the decision at 2300; a token at 2400; audio at 2600, played at once, audible at 2700."""
    made = qa_trace()
    costs = {EventKind.TOKEN: 90, EventKind.AUDIO: 150}
    events = [replace(e, cost_ns=costs.get(e.kind, 0) * MS) for e in made.events]
    early = Event(EventKind.BUSY, {"work": "reread"}, 2000 * MS, 2200 * MS, None, 70 * MS)
    [reply] = made.replies
    return replace(made, events=(early, *events), replies=(replace(reply, start_ns=2610 * MS),))


def test_the_parts_of_a_response_add_up_to_it(trace):
    path = reply_path(trace)
    assert {name: ns // MS for name, ns in path.parts.items()} == {
        "token": 90,
        "audio": 150,
        WAITING: 70,
        QUIET: 90,
        ENDPOINT: 300,
        TOTAL: 700,
    }
    assert sum(path.parts.values()) == 2 * path.parts[TOTAL]
    assert path.early["reread"] == 70 * MS


def test_gaps_are_told_with_the_audio_before_them(trace):
    [reply] = trace.replies
    stuttered = replace(reply, underruns=(Underrun(3000 * MS, 40 * MS), Underrun(3500 * MS, 60 * MS)))
    made = profile([replace(trace, replies=(stuttered,))])
    assert [(gap.after_ns // MS, gap.gap_ns // MS) for gap in made.gaps] == [(390, 40), (850, 60)]
    text = report("run", made)
    assert "| response | 100% | 700 | 700 | 700 |" in text
    assert "2.000 gaps a reply, median 50 ms" in text


def test_a_question_without_an_audible_answer_has_no_path(trace):
    assert reply_path(replace(trace, replies=())) is None
    assert report("run", profile([replace(trace, replies=())])).endswith("0.000 gaps a reply")
