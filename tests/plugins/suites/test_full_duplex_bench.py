"""Full-Duplex-Bench: its folders as scenarios."""

import json

import numpy as np
import pytest
import soundfile

from fobench import audio
from fobench.api import registry
from fobench.api.scenario import Anchor
from fobench.api.types import NS_PER_MS as MS
from fobench.errors import FobenchError
from fobench.execution.system_driver import LocalDriver
from fobench.simulation import replay
from fobench.simulation.clock import VirtualClock
from fobench.simulation.costs import CostTable
from tests.plugins.suites.suite_sounds import RATE, create, scenarios

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


def test_a_sample_in_which_nothing_can_be_heard_is_refused(tmp_path):
    sample = tmp_path / "candor_turn_taking" / "1"
    sample.mkdir(parents=True)
    soundfile.write(sample / "input.wav", np.zeros(RATE, np.float32), RATE)
    with pytest.raises(FobenchError, match=r"Nothing can be heard in audio file .*input\.wav"):
        scenarios(f"full-duplex-bench:{tmp_path}")


def test_a_folder_without_samples_is_refused(tmp_path):
    with pytest.raises(FobenchError, match=r"holds no input\.wav"):
        create(f"full-duplex-bench:{tmp_path}")
    with pytest.raises(FobenchError, match="does not exist"):
        create(f"full-duplex-bench:{tmp_path / 'no'}")
