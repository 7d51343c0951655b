"""Traces from files: what a replay wrote reads back; what none can have written is refused by its key."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.api.scenario import Scenario
from fobench.api.trace import LONGEST_NS, Trace
from fobench.errors import FobenchError
from tests.support.traces import duplex_trace, qa_trace

ODD = st.sampled_from([None, True, -1, 2**62, 0.5, "x", "", [], {}, [1], {"a": 1}])
TRACES = (
    qa_trace(gaps=(40,), measured={"dnsmos": {"ovrl": 3.0}}),
    duplex_trace([("question", 500, 2000)], [(2700, 4200)]),
)


def leaves(value, path=()):
    """The path of every value in plain data."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in children:
        yield (*path, key)
        yield from leaves(item, (*path, key))


def edited(data, path, value):
    data = copy.deepcopy(data)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return data


def plain(trace):
    return json.loads(json.dumps(trace.to_json()))


@pytest.mark.parametrize("trace", TRACES)
def test_it_reads_back(trace):
    assert Trace.from_json(plain(trace)) == trace
    assert Scenario.from_json(plain(trace)["scenario"]) == trace.scenario


@given(data=st.data(), value=ODD)
def test_any_value_in_any_place_is_read_and_kept_or_refused(data, value):
    written = plain(data.draw(st.sampled_from(TRACES)))
    path = data.draw(st.sampled_from(list(leaves(written))))
    try:
        trace = Trace.from_json(edited(written, path, value))
    except FobenchError as error:
        assert str(error)
    else:
        assert Trace.from_json(plain(trace)) == trace
        assert isinstance(trace.transcript(), str | None) and trace.transcripts() is not None
        assert trace.answer is None or trace.answer in trace.replies


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("version",), 2, "Trace version 2 is not 1"),
        (("user", 0, "turn"), 1, "user: the scenario has no turn 1"),
        (("user", 0, "turn"), -1, "user: the scenario has no turn -1"),
        (("user", 0, "start_ns"), LONGEST_NS + 1, "is no time in a conversation"),
        (("duration_ns",), -1, "duration_ns: -1 ns is no duration"),
        (("replies", 0, "heard_ns"), -1, "replies: -1 ns is no duration"),
        (("replies", 0, "start_ns"), "soon", r"replies\[0\]\.start_ns has the wrong type"),
        (("compute", "input_ns"), 2**62, "compute: 4611686018427387904 ns is no duration"),
        (("compute", "idle_steps"), 3, "compute: idle_steps without idle_ns"),
        (("events", 0, "kind"), "shout", r"events\[0\]\.kind has the wrong type"),
        (("events", 0, "data"), {"text": 3}, "events: transcript has text 3"),
        (("events", 0, "data"), {}, "events: transcript has text None"),
        (("scenario", "turns", 0, "rôle"), "boss", "unknown key scenario.turns.rôle"),
        (("measured",), {"dnsmos": {"ovrl": "good"}}, "measured.* has the wrong type"),
        (("scores",), 1, "unknown key scores"),
    ],
)
def test_what_no_replay_writes_is_refused_by_its_key(path, value, message):
    with pytest.raises(FobenchError, match=message):
        Trace.from_json(edited(plain(TRACES[0]), path, value))
