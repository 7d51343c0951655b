"""The known-answer matrix: every scripted control x every duplex family gives what was planted, within 20 ms.

What is expected comes from `duplex_oracle`, which knows neither the runner nor the metrics.
"""

import subprocess
import sys

import pytest

from fobench.api import registry
from fobench.api.types import NS_PER_MS as MS
from fobench.api.types import Action
from fobench.execution.system_driver import LocalDriver
from fobench.simulation import replay
from fobench.simulation.clock import VirtualClock
from fobench.simulation.costs import CostTable
from tests.end_to_end.duplex_oracle import Behaviour, story

REPLY_MS = 4000
NEAR = 20  # ms
FAST = ("late", "yields", "yields-always")
CONTROLS = {
    "silent": ({}, Behaviour(answer=None)),
    "late": ({"delay_ms": 700}, Behaviour()),
    "never-yields": ({"delay_ms": 900}, Behaviour(answer=900)),
    "yields": ({"delay_ms": 400}, Behaviour(stop=400)),
    "yields-always": ({"delay_ms": 200}, Behaviour(stop=200, to_anything=True)),
    "talking": ({}, Behaviour(always=True)),
    "echo": ({"delay_ms": 500}, Behaviour(answer=500, length=None)),
    "gibberish": ({}, Behaviour()),
    "two-faced": ({"delay_ms": 700}, Behaviour()),
}
pytestmark = pytest.mark.usefixtures("home")


def families(count, controls):
    suite = registry.create("suites", "duplex", {"sound": "tones", "count": count, "controls": controls})
    return list(suite.scenarios(3))


def replayed(name, scenario, monkeypatch):
    if name == "two-faced":  # a tone instead of the voice, which is not installed everywhere
        from fobench_plugins.systems.scripted import systems

        monkeypatch.setattr(systems, "speech", lambda text, voice: systems.tone(REPLY_MS))
    length = {} if name in ("silent", "talking", "echo") else {"reply_ms": REPLY_MS}
    pace = {} if name == "silent" else {"pace": "at_once"}  # made at once, a reply's end is foreseen exactly
    driver = LocalDriver(registry.spec("systems", f"scripted:{name}", {**CONTROLS[name][0], **length, **pace}))
    return replay.replay(scenario, driver, VirtualClock(CostTable())).trace


def near(found_ns, expected_ms):
    return found_ns == pytest.approx(expected_ms * MS, abs=NEAR * MS)


def check(name, scenario, monkeypatch):
    trace, told = replayed(name, scenario, monkeypatch), story(scenario, CONTROLS[name][1])
    where = f"{name}, {scenario.id}"
    assert len(trace.user) == len(told.user), where
    for said, (start, end) in zip(trace.user, told.user, strict=True):
        assert near(said.start_ns, start), where
        assert near(said.end_ns, end), where
    heard = [reply for reply in trace.replies if reply.audible_start_ns is not None]
    limit = heard[-1].audible_end_ns / MS if heard else 0  # of what never ends
    assert len(heard) == len(told.replies), where
    for reply, (start, end) in zip(heard, told.replies, strict=True):
        assert near(reply.audible_start_ns, start), where
        assert near(reply.audible_end_ns, min(end, limit)), where
    stops = trace.decisions(Action.YIELD)
    assert len(stops) == len(told.stops), where
    for stop, (_, at) in zip(stops, told.stops, strict=True):
        assert near(stop.compute_ns, at), where
    for metric, expected in planted(scenario, told, limit).items():
        score = registry.create("metrics", metric).score(trace, scenario)
        assert score.value == (None if expected is None else pytest.approx(expected, abs=NEAR)), (where, metric)


def planted(scenario, told, limit):
    """Each metric of the duplex table from the story alone."""
    roles = [turn.role for turn in scenario.turns[: len(told.user)]]
    said = list(zip(roles, told.user, strict=True))
    asked = [span for role, span in said if role in ("question", "interrupt")]
    replies = [(start, min(end, limit)) for start, end in told.replies]
    met = [(span, over(replies, span[0])) for role, span in said if role in ("interrupt", "stop")]
    met = [(span, reply) for span, reply in met if reply]
    decided = {start: at - start for start, at in told.stops}
    turn = turn_start(scenario, said)
    answers = [start - asked[-1][1] for start, _ in replies if asked and start >= turn]
    judged = [(span, reply) for span, reply in met if span[0] in decided or reply[1] > span[0] + 2000]
    passed = [
        over(replies, span[0]) and span[0] in decided
        for role, span in said
        if role in ("backchannel", "side_talk", "background", "noise") and over(replies, span[0])
    ]
    return {
        "response_ms": answers[0] if answers else None,
        "yield_decision_ms": mean([decided[s[0]] for s, _ in met if s[0] in decided]),
        "audible_stop_ms": mean([reply[1] - span[0] for span, reply in met]),
        "yield_rate": mean([float(span[0] in decided) for span, _ in judged]),
        "false_yield_rate": mean([float(p) for p in passed]),
        "resume_rate": mean([float(not p) for p in passed]),
        "takeover_rate": float(any(end - start >= 1000 for start, end in replies)),
    }


def turn_start(scenario, said):
    """The start of the user's turn that ends with the last question: of its first fragment, since a reply in a pause is early.

    A fragment that the system cut off is a turn of its own.
    """
    last = max((i for i, (role, _) in enumerate(said) if role in ("question", "interrupt")), default=0)
    while last > 0 and said[last - 1][0] == "fragment" and scenario.turns[last].anchor.event == "turn_end":
        last -= 1
    return said[last][1][0] if said else 0


def over(replies, at):
    return next(((start, end) for start, end in replies if start <= at < end), None)


def mean(values):
    return sum(values) / len(values) if values else None


@pytest.mark.parametrize("name", FAST)
def test_each_family_gives_what_was_planted(name, monkeypatch):
    for scenario in families(count=1, controls=False):
        check(name, scenario, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTROLS)
def test_the_whole_matrix(name, monkeypatch):
    for scenario in families(count=3, controls=True):
        check(name, scenario, monkeypatch)


@pytest.mark.parametrize(
    ("name", "options", "succeeds"),
    [
        (
            "late",
            {"delay_ms": 2000},
            {  # what it says into a late interruption are its own last words
                "turn_taking",
                "pause",
                "backchannel",
                "side_talk",
                "background",
                "noise",
                "silence",
                "late_interruption",
            },
        ),
        (
            "yields",
            {"delay_ms": 400},
            {
                "turn_taking",
                "interruption",
                "backchannel",
                "noise",
                "silence",
                "double_interruption",
                "early_interruption",
                "late_interruption",
                "resumption",
            },
        ),
        ("silent", {}, {"silence"}),
    ],
)
def test_who_keeps_the_turns_of_which_family(name, options, succeeds, monkeypatch):
    """A patient system waits in pauses and never stops; one that yields to what lasts cannot tell whom it is meant for, and answers "stop"."""
    monkeypatch.setitem(CONTROLS, name, (options, None))
    metric, found = registry.create("metrics", "turn_success"), set()
    for scenario in families(count=1, controls=False):
        trace = replayed(name, scenario, monkeypatch)
        if metric.score(trace, scenario).value == 1.0:
            found.add(scenario.expect.family)
    assert found == succeeds


@pytest.mark.slow
def test_workers_change_no_score(tmp_path):
    options = ["--suite", "duplex", "--suite-args", "sound=tones", "--suite-args", "count=1", "--judge", "none"]
    system = ["--system", "scripted:yields", "--system-args", f"reply_ms={REPLY_MS}", "--costs", "declared"]
    for workers in ("1", "2"):
        command = [sys.executable, "-m", "fobench", "run", *system, *options, "--workers", workers]
        subprocess.run([*command, "-o", str(tmp_path / workers)], check=True, capture_output=True)
    one, two = ((tmp_path / workers / "scores.json").read_bytes() for workers in ("1", "2"))
    assert one == two
