"""What is found out about an audio file before it is played, and the notes that a report carries of it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from fobench import audio
from fobench.api.scenario import Scenario, Turn
from fobench.api.types import NS_PER_MS, AudioChunk
from fobench.audio.decoding import NOTE_CANCELED
from fobench.audio.facts import NOTE_QUIET, NOTE_SILENT, audio_facts, audio_notes

RATE = 16_000
MS = NS_PER_MS


def tone(level_dbfs=-15.0, ms=500, before_ms=0, after_ms=0):
    """A tone whose RMS level is `level_dbfs`, between silences."""
    wave = np.sqrt(2) * 10 ** (level_dbfs / 20) * np.sin(2 * np.pi * 440 * np.arange(RATE * ms // 1000) / RATE)
    return np.pad(wave, (RATE * before_ms // 1000, RATE * after_ms // 1000)).astype(np.float32)


@pytest.fixture
def facts(tmp_path):
    def facts(samples, name="clip.wav", rate=RATE):
        soundfile.write(tmp_path / name, samples, rate, subtype="FLOAT")
        return audio_facts(tmp_path / name)

    return facts


def test_a_clean_file_has_no_notes(facts):
    found = facts(tone(before_ms=200, after_ms=100))
    assert (found.start_ns, found.end_ns, found.duration_ns) == (200 * MS, 700 * MS, 800 * MS)
    assert found.loudest_dbfs == pytest.approx(-15, abs=0.1)
    assert (found.is_silent, found.notes) == (False, ())


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(8000),
        np.full(8000, 0.3),
        np.full(8000, -1.0),
        tone(-90),
        tone(-90) + 0.2,
        np.random.default_rng(0).integers(-1, 2, 8000) / 32768,
        np.stack([np.zeros(8000), np.full(8000, 0.1)], 1),
    ],
    ids=["zeros", "offset", "full offset", "-90 dBFS", "-90 dBFS on an offset", "dither", "stereo offset"],
)
def test_nothing_can_be_heard(facts, samples):
    found = facts(samples.astype(np.float32))
    assert found.is_silent
    assert found.notes == (NOTE_SILENT,)


@pytest.mark.parametrize("level", [-74.0, -60.0, -48.0])
def test_a_very_quiet_file_is_noted(facts, level):
    found = facts(tone(level))
    assert not found.is_silent
    assert found.notes == (NOTE_QUIET,)


@given(st.floats(-0.8, 0.8), st.integers(2, 40), st.integers(2, 40))
def test_bounds_do_not_depend_on_a_constant_offset(offset, before, after):
    wave = tone(-20, 200, 10 * before, 10 * after)
    plain, shifted = (audio.speech_bounds(AudioChunk(w, RATE)) for w in (wave, (wave + offset).astype(np.float32)))
    assert shifted == plain == (10 * before * MS, (10 * before + 200) * MS)


@given(st.floats(-120, 0))
def test_what_is_heard_quiet_or_silent_follows_from_the_level(scratch, level):
    soundfile.write(scratch, tone(level), RATE, subtype="FLOAT")
    found = audio_facts(scratch)
    if abs(level + 85) > 0.2 and abs(level + 45) > 0.2:
        assert found.notes == ((NOTE_SILENT,) if level < -85 else (NOTE_QUIET,) if level < -45 else ())


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("levels") / "clip.wav"


def scenario(name, path, role="question"):
    return Scenario(name, "mine", 0, (Turn(str(path), "", role=role),))


def test_notes_name_the_first_scenarios_of_each_kind(facts, tmp_path):
    facts(tone(-74), "quiet.wav")
    facts(np.stack([tone(), -tone()], 1), "anti.wav")
    quiet = [scenario(f"q{i}", tmp_path / "quiet.wav") for i in range(5)]
    assert audio_notes([*quiet, scenario("a", tmp_path / "anti.wav"), scenario("gone", Path("gone.wav"))]) == [
        f"Audio of q0, q1, q2 and 2 more scenarios: {NOTE_QUIET}.",
        f"Audio of a: {NOTE_CANCELED}.",
    ]


def test_a_noise_may_be_silent(facts, tmp_path):
    facts(np.zeros(8000, np.float32))
    path = tmp_path / "clip.wav"
    assert audio_notes([scenario("n", path, "noise"), scenario("b", path, "background")]) == []
    assert audio_notes([scenario("q", path)]) == [f"Audio of q: {NOTE_SILENT}."]
