"""Conditions: the same scenarios with other sounds, whose measures are known."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench import audio
from fobench.api.scenario import CONTROL, Scenario
from fobench.api.types import NS_PER_S
from fobench.errors import FobenchError
from fobench.execution.worker_pool import paired
from fobench_plugins.suites import conditions
from fobench_plugins.suites.conditions import Sound
from tests.plugins.suites.suite_sounds import create, scenarios

pytestmark = pytest.mark.usefixtures("home")
RATE, PITCH_HZ = 24_000, 180
SOUND_CONDITIONS = tuple(conditions.TRANSFORMS)


def voiced(seconds=1.5, margin_s=0.1, **place):
    """Twenty harmonics in the rhythm of syllables, with silence around."""
    t = np.arange(int(seconds * RATE)) / RATE
    wave = sum(np.cos(2 * np.pi * PITCH_HZ * k * t + k * k) / k for k in range(1, 21))
    wave = 0.05 * wave * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))
    margin = int(margin_s * RATE)
    samples = np.pad(wave, margin).astype(np.float32)
    return Sound(
        samples, RATE, margin, margin + len(wave), **{"has_speech": True, "first": True, "last": True, **place}
    )


def heard(name, sound, seed=0):
    return conditions.TRANSFORMS[name](sound, np.random.default_rng(seed))


def rms(samples):
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def speech(sound):
    return sound.samples[sound.start : sound.end]


def level_db(sound, clean):
    return 20 * np.log10(rms(speech(sound)) / rms(speech(clean)))


def band_energy(samples, rate, low, high):
    power, hz = np.abs(np.fft.rfft(samples)) ** 2, np.fft.rfftfreq(len(samples), 1 / rate)
    return float(power[(hz >= low) & (hz < high)].sum())


def test_a_telephone_passes_its_band_at_8_khz_in_256_steps():
    clean = voiced()
    line = heard("telephone", clean)
    assert line.rate_hz == 8_000
    assert (line.start, line.end) == (clean.start // 3, clean.end // 3)
    inside, below, above = (
        band_energy(line.samples, 8_000, *band) for band in ((300, 3_400), (0, 180), (3_520, 4_000))
    )
    assert below + above < 10**-3 * inside  # what is left is the noise of mu-law
    assert len(np.unique(line.samples)) <= 255
    direct = band_energy(clean.samples, RATE, 300, 3_400) / 9  # of three times as many samples
    assert inside == pytest.approx(direct, rel=0.05)


def test_noise_lies_10_db_under_the_speech_before_and_after_it():
    clean = voiced()
    noisy = heard("noise-10db", clean)
    lead = noisy.start - clean.start
    assert (lead, len(noisy.samples)) == (RATE // 2, len(clean.samples) + 2 * RATE)
    noise = noisy.samples.copy()
    noise[lead : lead + len(clean.samples)] -= clean.samples
    assert 20 * np.log10(rms(speech(clean)) / rms(noise)) == pytest.approx(10, abs=0.1)
    for part in (noise[:lead], noise[-RATE:]):
        assert rms(part) > 0.3 * rms(noise)
    inner = heard("noise-10db", voiced(first=False, last=False))
    assert (inner.start, len(inner.samples)) == (clean.start, len(clean.samples))


def test_a_room_smears_the_speech_at_its_level():
    for seed in range(5):
        clean = voiced()
        wet = heard("far", clean, seed)
        assert level_db(wet, clean) == pytest.approx(0, abs=0.3)
        assert (wet.start, wet.end) == (clean.start, clean.end)
        after = wet.samples[wet.end + RATE // 20 : wet.end + RATE // 5]
        assert rms(after) > 0.05 * rms(speech(wet))
        assert rms(wet.samples[-RATE // 50 :]) < 0.02 * rms(speech(wet))
    assert len(heard("far", voiced(last=False)).samples) == len(clean.samples)


def test_fast_speech_is_shorter_at_its_pitch_and_level():
    clean = voiced(3.0)
    quick = heard("fast", clean)
    ratio = (clean.end - clean.start) / (quick.end - quick.start)
    assert ratio == pytest.approx(conditions.TEMPO, rel=0.01)
    assert level_db(quick, clean) == pytest.approx(0, abs=0.5)
    middle = speech(quick)[RATE // 4 : -RATE // 4]
    around = [band_energy(middle, RATE, PITCH_HZ * k - 12, PITCH_HZ * k + 12) for k in range(1, 21)]
    assert sum(around) > 0.8 * band_energy(middle, RATE, 20, RATE / 2)
    assert rms(quick.samples[: quick.start // 2]) < 0.02


def test_quiet_speech_is_24_db_softer():
    assert level_db(heard("quiet", voiced()), voiced()) == pytest.approx(-24, abs=0.01)


@given(
    st.sampled_from(SOUND_CONDITIONS),
    st.floats(0.02, 2.0),
    st.floats(0.0, 0.3),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_speech_stays_within_the_sound(name, seconds, margin_s, has_speech, first, last):
    clean = voiced(seconds, margin_s, has_speech=has_speech, first=first, last=last)
    other = heard(name, clean)
    assert 0 <= other.start < other.end <= len(other.samples)
    assert np.isfinite(other.samples).all()
    assert np.abs(other.samples).max() <= 1
    if not last:
        assert len(other.samples) / other.rate_hz <= len(clean.samples) / RATE + (0.5 if first else 0) + 1e-3


def plain(scenario):
    """What a condition must leave: all but id, tag and sounds."""
    data = dataclasses.replace(scenario, id=scenario.clean_id).to_json()
    data["tags"].pop("condition")
    for turn in data["turns"]:
        for key in ("audio", "sha256", "start_ns", "end_ns"):
            del turn[key]
    return data


def test_questions_under_conditions_are_the_same_questions():
    names = ("clean", *SOUND_CONDITIONS)
    suite = create("spoken-qa", condition=",".join(names))
    reading = suite.scenarios(0)
    clean, *others = group = [next(reading) for _ in names]
    assert [s.tags["condition"] for s in group] == list(names)
    assert clean.id == scenarios("spoken-qa")[0].id
    assert [s.id for s in others] == [f"{clean.id}@{name}" for name in SOUND_CONDITIONS]
    assert all(plain(s) == plain(clean) for s in others)
    assert len({s.turns[0].sha256 for s in group}) == len(names)
    for scenario in group:
        turn, chunk = scenario.turns[0], audio.load(scenario.turns[0].audio)
        assert 0 <= turn.start_ns < turn.end_ns <= chunk.duration_ns + NS_PER_S // chunk.rate_hz
        assert Scenario.from_json(json.loads(json.dumps(scenario.to_json()))) == scenario
    following = next(reading)
    assert (following.tags["condition"], following.seed) != (clean.tags["condition"], clean.seed)


def test_a_sound_follows_from_the_seed_of_its_scenario(fresh_home):
    def sounds(seed):
        reading = create("spoken-qa", condition="far,noise-10db,fast").scenarios(seed)
        return [next(reading).turns[0].sha256 for _ in range(3)]

    first = sounds(0)
    assert sounds(0) == first
    assert [a == b for a, b in zip(first, sounds(1), strict=True)] == [False, False, True]  # `fast` draws nothing


def test_duplex_scenarios_keep_their_controls_under_conditions():
    found = scenarios("duplex", families="interruption,pause,noise", count=2, condition="clean,far")
    by_id = {s.id: s for s in found}
    assert len(by_id) == 3 * 2 * 2 * 2
    for scenario in found:
        twin = by_id[scenario.clean_id]
        assert plain(scenario) == plain(twin)
        assert [t.sha256 == u.sha256 for t, u in zip(scenario.turns, twin.turns, strict=True)] == [
            scenario is twin for _ in scenario.turns
        ]
    assert {len(pair) for pair in paired(found)} == {2}
    assert all(b.id == a.id + CONTROL for a, b in paired(found))


def test_without_the_option_nothing_changes():
    assert all("condition" not in s.tags and s.clean_id == s.id for s in scenarios("spoken-qa")[:5])


def test_another_accent_is_other_speakers_of_the_same_texts():
    speakers = [f"speaker-{i}" for i in range(10)]
    accented = [conditions.speaker_under("accent-ja", name, speakers) for name in speakers]
    assert {accented.count(name) for name in conditions.ACCENTED} == {2}
    assert conditions.speaker_under("far", "speaker-3", speakers) == "speaker-3"


@pytest.mark.parametrize("suite", ["spoken-qa", "duplex"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"condition": "telefone"}, r"Unknown condition 'telefone'\. Did you mean 'telephone'"),
        ({"condition": ""}, "Choices: accent-ja, clean, far, fast, noise-10db, quiet, telephone"),
        ({"condition": "far,clean,far"}, "name each condition once"),
        ({"condition": "accent-ja", "voice": "espeak"}, "needs voice=kokoro"),
    ],
)
def test_wrong_conditions_are_refused(suite, options, message):
    with pytest.raises(FobenchError, match=message):
        create(suite, **options)


def test_tones_have_no_conditions():
    with pytest.raises(FobenchError, match="leave out sound=tones or condition"):
        create("duplex", sound="tones", condition="far")
