"""Full-Duplex-Bench: its folders as scenarios, runs as its outputs, and its metrics on hand-made cases."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from fobench import audio
from fobench.api import registry
from fobench.api.results import Results
from fobench.api.scenario import Anchor
from fobench.api.types import NS_PER_MS as MS
from fobench.api.types import Event, EventKind
from fobench.errors import FobenchError
from fobench.execution.system_driver import LocalDriver
from fobench.simulation import replay
from fobench.simulation.clock import VirtualClock
from fobench.simulation.costs import CostTable
from fobench_plugins.reporters import full_duplex_bench as theirs
from tests.support.suite_sounds import RATE, create, scenarios
from tests.support.traces import duplex_trace

pytestmark = pytest.mark.usefixtures("home")


def channel(*spans, seconds=8):
    """A user's channel with a tone in each span of ms."""
    wave = np.zeros(seconds * RATE, np.float32)
    for start, end in spans:
        first, last = start * RATE // 1000, end * RATE // 1000
        wave[first:last] = 0.2 * np.cos(2 * np.pi * 220 * np.arange(last - first) / RATE)
    return wave


@pytest.fixture
def sample(tmp_path):
    def make(task, wave, name="1", **files):
        folder = tmp_path / "bench" / task / name
        folder.mkdir(parents=True)
        soundfile.write(folder / "input.wav", wave, RATE)
        for file, data in files.items():
            (folder / f"{file}.json").write_text(json.dumps(data))
        return f"full-duplex-bench:{tmp_path / 'bench'}"

    return make


def test_an_interruption_comes_at_its_second_whatever_the_system_does(sample):
    wave = channel((500, 1500), (4000, 5500))
    told = [{"context": "one?", "interrupt": "two?", "timestamp": [4.0, 5.5]}]
    (found,) = scenarios(sample("synthetic_user_interruption", wave, interrupt=told))
    assert (found.id, found.expect.family) == ("synthetic_user_interruption/1", "interruption")
    assert [turn.role for turn in found.turns] == ["question", "interrupt"]
    assert [turn.anchor for turn in found.turns] == [Anchor("start", 0), Anchor("start", 4000 * MS)]
    assert found.turns[1].text == "two?"
    pieces = np.concatenate([audio.load(turn.audio).samples for turn in found.turns])
    assert np.allclose(pieces, wave, atol=1e-4)  # every sample is played
    driver = LocalDriver(registry.spec("systems", "scripted:late", {"reply_ms": 4000}))
    trace = replay.replay(found, driver, VirtualClock(CostTable())).trace
    assert [(u.start_ns // MS, u.end_ns // MS) for u in trace.user] == [(500, 1500), (4000, 5500)]


@pytest.mark.parametrize(
    ("task", "role"),
    [("user_backchannel", "backchannel"), ("talking_to_other", "side_talk"), ("background_speech", "background")],
)
def test_the_tasks_of_the_second_version(sample, task, role):
    metadata = {"timestamps": [4.0, 4.6], "context_text": "one?", "current_turn_text": "mhm"}
    (found,) = scenarios(sample(task, channel((500, 1500), (4000, 4600)), metadata=metadata))
    assert [turn.role for turn in found.turns] == ["question", role]
    assert found.turns[1].text == "mhm"


def test_pauses_lie_inside_one_turn(sample):
    told = [{"text": "[PAUSE]", "timestamp": [1.5, 2.7]}]
    (found,) = scenarios(sample("candor_pause_handling", channel((500, 1500), (2700, 4000)), pause=told))
    assert [turn.role for turn in found.turns] == ["fragment", "question"]
    for delay, taken in ((700, 1.0), (2000, 0.0)):
        driver = LocalDriver(registry.spec("systems", "scripted:late", {"delay_ms": delay, "reply_ms": 1500}))
        trace = replay.replay(found, driver, VirtualClock(CostTable())).trace
        assert [(u.start_ns // MS, u.end_ns // MS) for u in trace.user] == [(500, 1500), (2700, 4000)]
        assert registry.create("metrics", "pause_takeover_rate").score(trace, found).value == taken


def test_all_tasks_of_a_folder_are_found(sample):
    wave = channel((500, 1500))
    for name in ("2", "1"):
        path = sample("candor_turn_taking", wave, name)
    assert [s.id for s in scenarios(path)] == ["candor_turn_taking/1", "candor_turn_taking/2"]


@pytest.mark.parametrize(
    ("task", "files", "message"),
    [
        ("chatting", {}, "'chatting' is not a task of Full-Duplex-Bench"),
        ("user_backchannel", {"metadata": {"timestamps": [4, 3]}}, "cannot be read"),
        ("user_backchannel", {"metadata": {"time": [3, 4]}}, "timestamps"),
        ("user_backchannel", {"metadata": {"timestamps": [30, 31]}}, "ends at 8 s, before 30 s"),
        ("user_interruption", {}, "has no times of the interrupt"),
    ],
)
def test_what_is_none_of_theirs_is_named(sample, task, files, message):
    with pytest.raises(FobenchError, match=message):
        scenarios(sample(task, channel((500, 1500)), **files))


def test_a_folder_without_samples_is_refused(tmp_path):
    with pytest.raises(FobenchError, match=r"holds no input\.wav"):
        create(f"full-duplex-bench:{tmp_path}")
    with pytest.raises(FobenchError, match="does not exist"):
        create(f"full-duplex-bench:{tmp_path / 'no'}")


# ---- Their metrics -----------------------------------------------------------------------------------------------------


def said(*words, user=(("question", 500, 2000),), stop=None):
    """A trace in which one packet voices `words` (text, from, to), ms; heard until `stop`."""
    text = " ".join(word for word, _, _ in words)
    start, end = (words[0][1], words[-1][2]) if words else (0, 0)
    trace = duplex_trace(user, [(start, stop or end)] if words else [])
    packets = [
        Event(EventKind.AUDIO, {"reply": 0, "text": w, "duration_ns": (b - a) * MS}, a * MS, a * MS, a * MS)
        for w, a, b in words
    ]
    return replace(trace, events=tuple(packets), judge={"reply": text})


CASES = {  # their TO and their latency, s
    "nothing": (said(), False, None),
    "a murmur": (said(("mhm", 2700, 3000)), False, None),
    "just short of a second": (said(("well", 2700, 3200), ("yes", 3200, 3699)), False, None),
    "a second": (said(("well", 2700, 3200), ("yes", 3200, 3700)), True, 0.7),
    "four quick words": (said(*((w, 2700 + 100 * i, 2800 + 100 * i) for i, w in enumerate("abcd"))), True, 0.7),
    "three quick words": (said(*((w, 2700 + 100 * i, 2800 + 100 * i) for i, w in enumerate("abc"))), False, None),
    "too early": (said(("well", 1500, 2200), ("yes", 2200, 3000)), True, 0.0),
}


@pytest.mark.parametrize("case", CASES)
def test_their_tor_and_ours_agree(case):
    trace, taken, latency = CASES[case]
    assert theirs.takes_over(list(theirs.chunks(trace))) is taken
    assert registry.create("metrics", "takeover_rate").score(trace, trace.scenario).value == float(taken)
    assert theirs.task_metrics([trace])["latency_s"] == latency


def test_their_latency_is_ours_but_for_what_came_too_early():
    metric = registry.create("metrics", "response_ms")
    in_time, early = CASES["a second"][0], CASES["too early"][0]
    assert metric.score(in_time, in_time.scenario).value == 700.0
    assert metric.score(early, early.scenario).value == -500.0
    assert theirs.task_metrics([in_time, early]) == {
        "n": 2,
        "wordless": 0,
        "tor": 1.0,
        "latency_s": 0.35,
        "early": 1,
    }


def test_what_a_stop_cut_off_was_not_heard():
    trace = said(("one", 2700, 3200), ("two", 3200, 3700), ("three", 3700, 4200), stop=3500)
    heard = list(theirs.chunks(trace))
    assert [chunk.text for chunk in heard] == ["one", "two"]
    assert heard[-1].end_s == 3.5


def test_what_a_stop_dropped_stays_unheard_when_the_reply_goes_on_later():
    trace = said(("one", 2700, 3200), ("two", 3200, 3700), ("three", 5000, 5500))
    stopped = Event(EventKind.DECISION, {"action": "yield"}, None, 3000 * MS)
    made = [replace(event, compute_ns=2600 * MS) for event in trace.events[:2]]
    trace = replace(trace, events=(*made, stopped, trace.events[2]))
    assert [(c.text, c.end_s) for c in theirs.chunks(trace)] == [("one", 3.0), ("three", 5.5)]


def test_a_system_that_does_not_say_what_it_voices_has_no_tor():
    trace = replace(said(("one", 2700, 3200)), events=())
    assert theirs.task_metrics([trace, said()]) == {"n": 1, "wordless": 1, "tor": 0.0, "latency_s": None, "early": 0}
    assert theirs.task_metrics([trace])["tor"] is None


def test_a_run_is_written_as_their_folders(tmp_path):
    both = np.zeros((RATE, 2), np.float32)
    both[:, 1] = 0.1
    soundfile.write(tmp_path / "one.wav", both, RATE)
    trace = replace(said(("well", 2700, 3200), ("yes", 3200, 3700)), audio="one.wav")
    named = replace(trace, scenario=replace(trace.scenario, id="turn_taking/7", tags={"task": "candor_turn_taking"}))
    summary = theirs.FullDuplexBenchReporter().write(Results(tmp_path, {}, [named], [[]], []), tmp_path)
    folder = summary.parent / "candor_turn_taking" / "7"
    output = json.loads((folder / "output.json").read_text())
    assert output["text"] == "well yes"
    assert output["chunks"][0] == {"text": "well", "timestamp": [2.7, 3.2]}
    assert len(soundfile.read(folder / "output.wav")[0]) == len(soundfile.read(folder / "input.wav")[0]) == RATE
    assert json.loads(summary.read_text())["candor_turn_taking"]["tor"] == 1.0
