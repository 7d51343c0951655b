"""Scenario files: TOML that people write by hand, checked before anything is run."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fobench import audio
from fobench.api.scenario import Anchor
from fobench.api.types import NS_PER_MS as MS
from fobench.cli.main import main
from fobench.errors import FobenchError
from tests.plugins.suites.suite_sounds import RATE, create, scenarios, sound

pytestmark = pytest.mark.usefixtures("home")
WHOLE = """
version = 1

[[scenario]]
id = "stop-in-the-kitchen"
family = "stop"
tags = { place = "kitchen" }
patience_s = 4

  [[scenario.turns]]
  audio = "ask.wav"
  text = "Tell me about the sea."
  speaker = "ann"

  [[scenario.turns]]
  noise = "clatter"
  length_s = 0.8
  level_db = -6
  role = "noise"
  anchor = { event = "reply_audible", delay_s = 0.5 }

  [[scenario.turns]]
  say = "Uh-huh."
  speaker = "af_aoede"
  role = "backchannel"
  snr_db = 15
  anchor = { event = "reply_audible", delay_s = 1.2, or_after_s = 3 }

[[scenario]]
[[scenario.turns]]
audio = "ask.wav"
"""


@pytest.fixture
def write(tmp_path):
    soundfile.write(tmp_path / "ask.wav", sound(), RATE)

    def file(text):
        (tmp_path / "talk.toml").write_text(text)
        return tmp_path / "talk.toml"

    return file


def one(turn, version="version = 1"):
    return f'{version}\n[[scenario]]\nid = "x"\n[[scenario.turns]]\n{turn}\n'


def test_a_file_becomes_scenarios(write):
    first, second = scenarios(f"manifest:{write(WHOLE)}")
    assert (first.id, first.suite, first.expect.family) == ("stop-in-the-kitchen", "manifest:talk.toml", "stop")
    assert (dict(first.tags), first.patience_ns) == ({"place": "kitchen"}, 4000 * MS)
    ask, clatter, said = first.turns
    assert (ask.text, ask.speaker, ask.anchor) == ("Tell me about the sea.", "ann", Anchor())
    assert (clatter.role, clatter.anchor) == ("noise", Anchor("reply_audible", 500 * MS))
    assert clatter.end_ns == 800 * MS
    assert said.anchor == Anchor("reply_audible", 1200 * MS, 3000 * MS)
    assert said.text == "Uh-huh."
    assert second.id == "ask"


def test_the_readmes_file_is_one(write):
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    (block,) = [text for text in re.findall(r"```toml\n(.*?)```", readme, re.DOTALL) if "[[scenario]]" in text]
    (found,) = scenarios(f"manifest:{write(block)}")
    assert [turn.role for turn in found.turns] == ["question", "stop"]
    assert found.turns[1].anchor == Anchor("reply_audible", 1200 * MS)


def test_noise_is_made_at_its_level(write):
    turn = 'noise = "pink"\nrole = "noise"\nlevel_db = '
    loud, soft = (scenarios(f"manifest:{write(one(turn + db))}") for db in ("0", "-12"))
    levels = [20 * np.log10(np.std(audio.load(found[0].turns[0].audio).samples)) for found in (loud, soft)]
    assert levels[0] == pytest.approx(-26, abs=0.5)
    assert levels[1] == pytest.approx(-38, abs=0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[scenario]]\nid = "x"', "needs the line version = 1"),
        (one('audio = "ask.wav"', "version = 2"), "needs the line version = 1"),
        ("version = 1\n[scenario]\nid = 3", r"\[\[scenario\]\] in double brackets"),
        ("version = 1\n[[scenarios]]\nid = 3", r"no tables but \[\[scenario\]\], not scenarios"),
        ("version = ", "cannot be read as TOML"),
        (one('noise = "clater"'), "did you mean 'clatter'"),
        (one('say = " "'), "'say' is empty"),
        (one('say = "Hi"\nvoice = "kokkoro"'), "Did you mean 'kokoro'"),
        (one('say = "Hi"\naudio = "ask.wav"'), "turn 0 has more than one of 'audio', 'say' or 'noise'"),
        (one('text = "Hi"'), "turn 0 has no 'audio', 'say' or 'noise'"),
        (one('noise = "hum"\nlength_s = 0'), "length_s must be seconds above 0"),
        (one('noise = "hum"\nlength_s = nan'), "length_s must be seconds"),
        (one('noise = "hum"\nlevel_db = inf'), "must be numbers of dB from -300 to 300"),
        (one('noise = "hum"\nanchor = { event = "reply_heard" }'), "unknown anchor event 'reply_heard'"),
        (one('noise = "hum"\nanchor = { event = "start", delay = 2 }'), "anchor has no 'delay', only event, delay_s"),
        (one('noise = "hum"\nanchor = { or_after_s = -1 }'), "or_after_s must be seconds of at least 0"),
        (one('noise = "hum"\nrole = "interupt"'), "did you mean 'interrupt'"),
        (one('noise = "hum"\nlevel_dbs = 2'), "unknown key 'level_dbs', did you mean 'level_db'"),
        (one('audio = "none.wav"'), r"scenario 1 \(x\): audio file .*none.wav does not exist"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(write, text, message):
    with pytest.raises(FobenchError, match=message):
        create(f"manifest:{write(text)}")


@pytest.mark.subprocess
def test_validate_takes_a_files_path(write):
    fine = CliRunner().invoke(main, ["validate", str(write(WHOLE))])
    assert (fine.exit_code, "2 checked" in fine.output) == (0, True)
    broken = CliRunner().invoke(main, ["validate", str(write(one('noise = "hmm"')))])
    assert broken.exit_code == 2
    assert "unknown noise 'hmm'" in broken.output


def test_scenarios_are_listed_turn_by_turn(write):
    listed = CliRunner().invoke(main, ["ls", "scenarios", "--suite", f"manifest:{write(WHOLE)}"])
    assert listed.exit_code == 0
    assert "2 scenarios" in listed.output
    for told in ("0.5 s after start, question", "1.2 s after reply_audible (or 3 s after the last turn)", "'Uh-huh.'"):
        assert told.replace(" ", "") in listed.output.replace("\n", "").replace(" ", "")


def test_an_unknown_kind_of_list_is_refused():
    assert "Did you mean 'scenarios'" in CliRunner().invoke(main, ["ls", "scenario"]).output


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    st.text(max_size=60)
    | st.builds("version = 1\n[[scenario]]\n{} = {}".format, st.text(max_size=9), st.text(max_size=9))
)
def test_any_text_is_read_or_refused_with_a_message(write, text):
    path = write("")
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(FobenchError):
        create(f"manifest:{path}")
