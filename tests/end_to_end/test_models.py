"""The default system with its real models (-m slow): what a newcomer's first run does, on a handful of questions."""

import json

import pytest

from fobench.api import registry
from fobench.api.scenario import Anchor
from fobench.api.types import NS_PER_MS, Action
from fobench.assets import store
from fobench.execution.system_driver import LocalDriver
from fobench.simulation import recording as recording_module
from fobench.simulation import replay
from fobench.simulation.clock import VirtualClock
from fobench.simulation.costs import CostTable
from fobench.simulation.echo import Echo

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def driver():
    return LocalDriver(registry.spec("systems", "cascade"))


@pytest.fixture(scope="module")
def reference():
    return LocalDriver(registry.spec("systems", "freeze-omni"))


@pytest.fixture(scope="module")
def questions():
    suite = registry.create("suites", "spoken-qa")
    return [scenario for scenario, _ in zip(suite.scenarios(0), range(4), strict=False)]


@pytest.fixture(scope="module")
def recordings(driver, questions):
    return [replay.replay(question, driver, VirtualClock()) for question in questions]


def test_it_answers_every_question_in_audio(recordings):
    for recording in recordings:
        trace = recording.trace
        assert trace.failure is None
        assert trace.answer.text
        assert trace.answer.audible_start_ns > trace.question.end_ns
        assert len(trace.decisions(Action.SPEAK)) == 1


def test_it_speaks_what_it_writes(recordings):
    from fobench.scoring.text_normalization import normalize

    judge = registry.create("recognizers", "whisper")
    heard = judge.transcribe(recording_module.reply_audio(recordings[0])).text
    written = set(normalize(recordings[0].trace.answer.text).split())
    assert len(written & set(normalize(heard).split())) >= 0.7 * len(written)


def test_the_backbone_is_frozen(driver, recordings):
    assert driver.about()["parameter_hash"] == driver.about()["parameter_hash"]


def test_a_question_over_the_reply_stops_it_and_is_answered(driver, questions):
    from dataclasses import replace

    first, second = questions[0], questions[1]
    interrupt = replace(second.turns[0], role="interrupt", anchor=Anchor("reply_audible", 300 * NS_PER_MS))
    trace = replay.replay(replace(first, turns=(first.turns[0], interrupt)), driver, VirtualClock()).trace
    assert len(trace.decisions(Action.YIELD)) == 1
    assert trace.replies[0].stopped_ns is not None
    assert trace.replies[0].heard_ns < trace.replies[0].generated_ns
    assert trace.answer.reply == 1


@pytest.mark.parametrize("name", ["interruption-02", "stop-01", "pause-01", "background-01", "noise-01", "silence-01"])
def test_it_keeps_its_turns(driver, name):
    keeps_turn(driver, name)


@pytest.mark.parametrize(
    "name",
    ["interruption-01", "stop-01", "pause-01", "backchannel-01", "background-01", "noise-01", "silence-01"],
)
def test_freeze_omni_keeps_its_turns(reference, name):
    keeps_turn(reference, name)


def keeps_turn(driver, name):
    suite = registry.create("suites", "duplex", {"count": 2, "families": name.rpartition("-")[0], "controls": False})
    scenario = next(s for s in suite.scenarios(0) if s.id == name)
    trace = replay.replay(scenario, driver, VirtualClock(CostTable())).trace
    assert registry.create("metrics", "turn_success").score(trace, scenario).value == 1.0


@pytest.mark.parametrize("system", ["driver", "reference"])
def test_its_own_voice_in_its_microphone_does_not_stop_it(request, system, questions):
    driver = request.getfixturevalue(system)
    trace = replay.replay(questions[0], driver, VirtualClock(CostTable()), echo=Echo(-20)).trace
    assert not trace.decisions(Action.YIELD)
    assert len(trace.replies) == 1


def test_the_assets_are_those_of_the_table():
    for name, asset in store.table().items():
        if asset.default:
            assert not store.verify(name)
    assert json.dumps(store.ls_rows())


def scripted(tmp_path, system, *options):
    """Totals of a scripted control that speaks, judged by the real judge, on one question whose answer is London."""
    import subprocess
    import sys

    suite = ("--suite", "controls", "--suite-args", "families=question", "--suite-args", "count=2")
    asked = ("--suite-args", "text=Which city is the capital of England?", "--suite-args", "answer=London")
    command = [
        sys.executable,
        "-m",
        "fobench",
        "run",
        "--system",
        system,
        "--costs",
        "declared",
        "-o",
        str(tmp_path / "run"),
    ]
    subprocess.run([*command, *suite, *asked, *options], check=True, capture_output=True)
    totals = json.loads((tmp_path / "run" / "scores.json").read_text())["totals"]
    return {score["metric"]: score["value"] for score in totals}


@pytest.mark.subprocess
def test_saying_one_thing_and_writing_another_is_found_out(tmp_path):
    says = ("--system-args", "says=It is the city of Madrid.", "--system-args", "writes=It is the city of London.")
    found = scripted(tmp_path, "scripted:two-faced", *says)
    assert (found["accuracy_t2t"], found["accuracy_s2t"], found["accuracy_s2s"]) == (1.0, 1.0, 0.0)
    assert found["speech_text_wer"] == pytest.approx(1 / 6, abs=0.01)


@pytest.mark.subprocess
def test_gibberish_is_not_what_was_written(tmp_path):
    found = scripted(tmp_path, "scripted:gibberish", "--system-args", "writes=It is the city of London.")
    assert (found["accuracy_s2t"], found["accuracy_s2s"]) == (1.0, 0.0)
    assert found["speech_text_wer"] >= 0.8
