"""The duplex suite: families with paired controls, from a seed."""

from collections import Counter

import numpy as np
import pytest
import soundfile

from fobench import audio
from fobench.api.scenario import CONTROL
from fobench.api.types import AudioChunk
from fobench.audio import decoding
from fobench.errors import FobenchError
from fobench_plugins.suites import audio_turns
from tests.plugins.suites.suite_sounds import create, scenarios, sound

pytestmark = pytest.mark.usefixtures("home")

FAMILIES = [
    "turn_taking",
    "pause",
    "interruption",
    "stop",
    "backchannel",
    "side_talk",
    "background",
    "noise",
    "silence",
    "double_interruption",
    "early_interruption",
    "late_interruption",
    "resumption",
]


def test_every_family_has_as_many_scenarios_as_controls():
    found = Counter(s.expect.family for s in scenarios("duplex", sound="tones"))
    assert found == {name + ending: 20 for name in FAMILIES for ending in ("", CONTROL)}


def test_every_prefix_is_a_fair_subset():
    found = [s.expect.family for s in scenarios("duplex", sound="tones", count=2)]
    assert found[: 2 * len(FAMILIES)] == [name + ending for name in FAMILIES for ending in ("", CONTROL)]


@pytest.mark.parametrize("sound", ["tones", "speech"])
def test_a_control_lacks_what_its_pair_tests_and_nothing_else(sound):
    for event, control in pairs(scenarios("duplex", sound=sound, count=1)):
        assert (event.seed, control.id) == (control.seed, event.id + CONTROL)
        own = {k: v for k, v in event.tags.items() if k in ("voice", "level", "snr")}
        assert own.items() <= control.tags.items()
        family = event.expect.family
        if family == "turn_taking":
            assert [turn.role for turn in (*event.turns, *control.turns)] == ["question", "noise"]
        elif family in ("pause", "resumption"):
            assert [turn.sha256 for turn in event.turns] == [turn.sha256 for turn in control.turns]
            assert control.turns[1].anchor.event == "turn_end"
        elif family == "silence":
            assert control.turns[: len(event.turns)] == event.turns
        else:
            assert event.turns[: len(control.turns)] == control.turns
            assert len(control.turns) < len(event.turns)


def pairs(found):
    return list(zip(found[::2], found[1::2], strict=True))


def test_what_comes_over_a_reply_is_anchored_to_its_sound():
    over = {"interruption", "stop", "backchannel", "side_talk", "background", "noise", "double_interruption"}
    for scenario in scenarios("duplex", sound="tones", count=5, controls=False):
        if scenario.expect.family in over:
            assert {turn.anchor.event for turn in scenario.turns[1:]} == {"reply_audible"}
            assert 600 <= scenario.turns[1].anchor.delay_ns / 1e6 <= 2400


def test_speech_comes_in_several_voices_levels_and_rooms():
    found = scenarios("duplex", families="interruption", controls=False)
    for tag, least in (("voice", 10), ("level", 3), ("snr", 3)):
        assert len({s.tags[tag] for s in found}) >= least
    assert len({s.turns[1].anchor.delay_ns for s in found}) >= 15
    assert len({s.turns[0].text for s in found}) == 20
    for scenario in found:
        assert {turn.speaker for turn in scenario.turns} == {scenario.tags["voice"]}


def test_the_interrupting_question_is_the_one_to_be_answered():
    (found,) = scenarios("duplex", families="interruption", count=1, controls=False)
    assert found.question is found.turns[1]
    assert found.expect.answers
    (stopped,) = scenarios("duplex", families="stop", count=1, controls=False)
    assert not stopped.expect.answers


def test_background_speech_is_another_voice_and_softer():
    for scenario in scenarios("duplex", families="background", count=5, controls=False):
        user, other = scenario.turns
        assert user.speaker != other.speaker
        assert rms(other) < rms(user)


def rms(turn):
    chunk = audio.load(turn.audio)
    first, last = (bound * chunk.rate_hz // 10**9 for bound in (turn.start_ns, turn.end_ns))
    return float(np.sqrt(np.mean(np.square(chunk.samples[first:last]))))


def test_noise_lies_under_the_speech_at_its_level():
    from fobench_plugins.suites.scenario_builder import build_turn
    from fobench_plugins.suites.scenario_spec import TurnSpec

    line = {"say": "Uh-huh.", "speaker": "af_aoede"}
    clean, noisy = (build_turn(TurnSpec(**line, snr_db=snr), 1) for snr in (None, 10.0))
    difference = audio.load(noisy.audio).samples - audio.load(clean.audio).samples
    assert 20 * np.log10(rms(clean) / np.sqrt(np.mean(difference**2))) == pytest.approx(10, abs=0.1)
    assert (noisy.start_ns, noisy.end_ns) == (clean.start_ns, clean.end_ns)
    softer = build_turn(TurnSpec(**line, level_db=-6.0), 1)
    assert 20 * np.log10(rms(softer) / rms(clean)) == pytest.approx(-6, abs=0.1)


def test_the_suite_follows_the_seed():
    one, same, other = (scenarios("duplex", seed=seed, sound="tones", count=1) for seed in (1, 1, 2))
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"families": "stop,bakchannel"}, "Did you mean 'backchannel'"),
        ({"count": 0}, "from 1 to 100,000"),
        ({"sound": "noise"}, "speech, tones"),
        ({"voice": "kokkoro"}, "Did you mean 'kokoro'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(FobenchError, match=message):
        create("duplex", **options)


def test_a_clip_is_decoded_once_unless_it_changes(tmp_path, monkeypatch):
    path, decode, loads = tmp_path / "clip.wav", decoding.decode, []
    monkeypatch.setattr(decoding, "decode", lambda path: loads.append(path) or decode(path))
    for ms in (250, 375):
        soundfile.write(path, sound(ms), 16_000)
        first, second = audio_turns.turn_from_audio(path), audio_turns.turn_from_audio(path, text="again", start_ns=5)
        decoded = decode(path)
        chunk = AudioChunk(decoded.samples, decoded.rate_hz)
        assert first.sha256 == second.sha256 == audio.sha256(chunk.samples, chunk.rate_hz)
        assert (first.start_ns, first.end_ns) == audio.speech_bounds(chunk)
        assert (second.text, second.start_ns, second.end_ns) == ("again", 5, first.end_ns)
    assert loads == [path, path]
