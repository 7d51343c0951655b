"""Limits in scenario files: checked with their place, and judged turn by turn on scripted systems."""

import json
import xml.etree.ElementTree as ET

import pytest
import soundfile
from click.testing import CliRunner

from fobench.api.scenario import TurnExpect
from fobench.cli.main import main
from fobench.errors import FobenchError
from tests.plugins.suites.suite_sounds import RATE, create, scenarios, sound

pytestmark = pytest.mark.usefixtures("home")
TALK = """
version = 1
[[scenario]]
id = "stopped"
assert = ["response_ms<=720", "early_reply_rate<=0"]
patience_s = 4
[[scenario.turns]]
audio = "ask.wav"
expect = "reply"
max_response_ms = 720
[[scenario.turns]]
audio = "long.wav"
role = "stop"
expect = "stop"
max_stop_ms = 500
anchor = { event = "reply_audible", delay_s = 0.5 }
"""
PLAIN = 'version = 1\n[[scenario]]\n[[scenario.turns]]\naudio = "ask.wav"'


@pytest.fixture
def write(tmp_path):
    soundfile.write(tmp_path / "ask.wav", sound(), RATE)
    soundfile.write(tmp_path / "long.wav", sound(ms=1500), RATE)

    def file(text):
        (tmp_path / "talk.toml").write_text(text)
        return tmp_path / "talk.toml"

    return file


def judged(path, folder, *system, expect):
    arguments = ["--suite", f"manifest:{path}", "--judge", "none", "--costs", "declared", "--output", str(folder)]
    done = CliRunner().invoke(main, ["run", *arguments, "--system", *system])
    assert done.exit_code == expect, done.output
    found = json.loads((folder / "scores.json").read_text())["limits"]
    return {(limit["turn"], limit["text"]): limit["kept"] for limit in found}


def test_limits_are_read_and_others_leave_no_trace(write):
    (found,) = scenarios(f"manifest:{write(TALK)}")
    assert found.expect.asserts == ("response_ms<=720", "early_reply_rate<=0")
    assert found.expect.turns == (TurnExpect(0, "reply", None, 720), TurnExpect(1, "stop", 500))
    assert type(found).from_json(json.loads(json.dumps(found.to_json()))) == found
    (plain,) = scenarios(f"manifest:{write(PLAIN)}")
    assert plain.to_json()["expect"].keys() == {"answers", "choices", "family"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'expect = "stop"',
            'expect = "halt"',
            r"talk.toml: scenario 1 \(stopped\): turn 1 unknown expect 'halt' .*stop, keep, reply",
        ),
        ('expect = "stop"', 'expect = "keep"', "turn 1 has expect = keep, which needs the role backchannel or"),
        (
            'expect = "reply"',
            "max_stop_ms = 500",
            "turn 0 has max_stop_ms, which needs the role interrupt or stop, not question",
        ),
        ("max_stop_ms = 500", "max_stop_ms = 0", "turn 1 max_stop_ms must be milliseconds above 0"),
        ("max_stop_ms = 500", "max_stop_ms = nan", "turn 1 max_stop_ms must be milliseconds above 0"),
        ("max_stop_ms = 500", 'max_stop_ms = "soon"', "'max_stop_ms' must be int or float"),
        ("response_ms<=720", "respons_ms<=720", "Did you mean 'response_ms'"),
        ("response_ms<=720", "response_ms", "write it as METRIC<=NUMBER"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(write, old, new, message):
    with pytest.raises(FobenchError, match=message):
        create(f"manifest:{write(TALK.replace(old, new))}")


def test_a_system_that_stops_in_time_keeps_every_limit(write, tmp_path):
    found = judged(write(TALK), tmp_path / "run", "scripted:yields", expect=0)
    assert len(found) == 6 and all(found.values())


def test_a_stop_that_is_planted_too_late_is_a_failed_case_of_its_turn(write, tmp_path):
    system = ("scripted:yields", "--system-args", "delay_ms=700")
    found = judged(write(TALK), tmp_path / "run", *system, expect=1)
    assert {key for key, kept in found.items() if not kept} == {(1, "max_stop_ms = 500")}
    suite = ET.parse(tmp_path / "run" / "junit.xml").getroot().find("testsuite[@name='limits']")
    (failed,) = [case for case in suite if case.find("failure") is not None]
    assert failed.get("name") == "stopped, turn 1: max_stop_ms = 500"


def test_a_system_that_never_stops_does_not_do_what_the_turn_expects(write, tmp_path):
    found = judged(write(TALK), tmp_path / "run", "scripted:never-yields", "--system-args", "reply_ms=6000", expect=1)
    assert not found[1, "expect = stop"] and not found[1, "max_stop_ms = 500"]
    assert found[0, "expect = reply"] and found[0, "max_response_ms = 720"]


def test_a_sound_that_is_no_claim_has_to_be_talked_through(write, tmp_path):
    talk = (
        TALK.replace('role = "stop"', 'role = "noise"').replace('"stop"', '"keep"').replace("max_stop_ms = 500\n", "")
    )
    assert judged(write(talk), tmp_path / "kept", "scripted:late", expect=0)[1, "expect = keep"]
    assert not judged(write(talk), tmp_path / "lost", "scripted:yields-always", expect=1)[1, "expect = keep"]


def test_a_turn_that_is_not_reached_is_not_kept(write, tmp_path):
    found = judged(write(TALK), tmp_path / "run", "scripted:silent", expect=1)
    assert not any(found.values())
