"""Audio in: any rate, any number of channels, and bad files refused by name. Bounds and levels on known sounds."""

import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from fobench import audio
from fobench.api.types import NS_PER_MS, NS_PER_S, AudioChunk, ns_to_samples, samples_to_ns
from fobench.errors import FobenchError

RATE = 16_000


def tone(ms, rate=RATE, level=0.3, hz=440):
    return (level * np.cos(2 * np.pi * hz * np.arange(rate * ms // 1000) / rate)).astype(np.float32)


def padded(before_ms, sound, after_ms, rate=RATE):
    silence = [np.zeros(rate * ms // 1000, dtype=np.float32) for ms in (before_ms, after_ms)]
    return np.concatenate([silence[0], sound, silence[1]])


@pytest.fixture
def write(tmp_path):
    def write(samples, rate=RATE, name="clip.wav", **settings):
        soundfile.write(tmp_path / name, samples, rate, **settings)
        return tmp_path / name

    return write


@pytest.mark.parametrize("content", [b"", b"no audio at all", b"RIFF\x00\x00\x00\x00WAVE", b"fLaC" + bytes(40)])
@pytest.mark.parametrize("name", ["clip.wav", "clip.flac", "clip.mp3"])
def test_an_unreadable_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FobenchError, match=name):
        audio.load(tmp_path / name)


def test_a_missing_file_and_a_folder_are_no_audio(tmp_path):
    for path in (tmp_path / "absent.wav", tmp_path):
        with pytest.raises(FobenchError, match="does not exist"):
            audio.load(path)


def test_an_empty_file_is_refused(write):
    with pytest.raises(FobenchError, match=r"clip\.wav is empty"):
        audio.load(write(np.zeros(0, np.float32)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(write, value):
    samples = tone(100)
    samples[7] = value
    with pytest.raises(FobenchError, match="not finite"):
        audio.load(write(samples, subtype="FLOAT"))


def test_one_bad_channel_is_enough(write):
    samples = np.stack([tone(100), tone(100)], axis=1)
    samples[3, 1] = np.nan
    with pytest.raises(FobenchError, match="not finite"):
        audio.load(write(samples, subtype="FLOAT"))


def test_three_hours_are_refused_without_reading_them(tmp_path):
    path, seconds = tmp_path / "long.wav", 3 * 3600
    size = seconds * RATE * 2
    header = (
        b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, RATE * 2, 2, 16)
    )
    with path.open("wb") as file:
        file.write(header + b"data" + struct.pack("<I", size))
        file.truncate(44 + size)  # sparse: takes no room on the disk
    with pytest.raises(FobenchError, match=r"lasts 10800 s; a turn may last 600 s"):
        audio.load(path)


def test_loud_float_files_are_clipped_to_full_scale(write):
    loaded = audio.load(write(4 * tone(100, level=1.0), subtype="FLOAT"))
    assert loaded.samples.max() == 1.0
    assert loaded.samples.min() == -1.0


def test_a_clipped_recording_is_taken_as_it_is(write):
    clipped = np.clip(3 * tone(100), -1, 1)
    assert np.abs(audio.load(write(clipped)).samples - clipped).max() < 1e-4


def test_eight_channels_become_their_mean(write):
    channels = np.stack([tone(100, hz=200 + 100 * i, level=0.1 * (i + 1)) for i in range(8)], axis=1)
    loaded = audio.load(write(channels, subtype="FLOAT"))
    assert loaded.samples.shape == (RATE // 10,)
    assert np.allclose(loaded.samples, channels.mean(axis=1), atol=1e-6)


def test_one_sample_is_audio(write):
    loaded = audio.load(write(np.array([0.5], np.float32), subtype="FLOAT"))
    assert loaded.samples.tolist() == [0.5]
    assert audio.speech_bounds(loaded) == (0, samples_to_ns(1, RATE))
    assert len(audio.load(write(np.array([0.5], np.float32), subtype="FLOAT"), 24_000).samples) in (1, 2)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("a.wav", {"subtype": "PCM_16"}),
        ("a.wav", {"subtype": "PCM_24"}),
        ("a.wav", {"subtype": "ULAW"}),
        ("a.flac", {}),
        ("a.ogg", {"subtype": "VORBIS"}),
        ("a.ogg", {"subtype": "OPUS"}),
        ("a.mp3", {}),
        ("a.aiff", {}),
    ],
)
def test_every_common_format_is_read(write, name, settings):
    loaded = audio.load(write(tone(1000), name=name, **settings))
    assert loaded.rate_hz == RATE
    assert len(loaded.samples) == pytest.approx(RATE, rel=0.1)
    assert np.sqrt(np.mean(loaded.samples**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 24_000, 44_100, 48_000, 96_000])
def test_resampling_keeps_length_pitch_and_level(write, rate):
    loaded = audio.load(write(tone(1000, rate=rate), rate=rate, subtype="FLOAT"), RATE)
    assert loaded.rate_hz == RATE
    assert len(loaded.samples) == pytest.approx(RATE, abs=1)
    middle = loaded.samples[RATE // 4 : 3 * RATE // 4]
    assert np.abs(middle - tone(1000)[RATE // 4 : 3 * RATE // 4]).max() < 0.01


def test_resampling_to_the_same_rate_changes_nothing():
    chunk = AudioChunk(tone(10), RATE, 7)
    assert audio.resample(chunk, RATE) is chunk
    assert audio.resample(chunk, 2 * RATE).start == 14


def test_saving_is_whole_and_exact_to_16_bits(tmp_path):
    audio.save(tmp_path / "a.flac", tone(100), RATE)
    assert [path.name for path in tmp_path.iterdir()] == ["a.flac"]
    assert np.abs(audio.load(tmp_path / "a.flac").samples - tone(100)).max() <= 2**-15


def test_the_hash_is_of_the_sound_not_of_the_file(write):
    exact = (np.round(tone(100) * 2**15) / 2**15).astype(np.float32)
    first = audio.load(write(exact, name="a.wav", subtype="PCM_16"))
    second = audio.load(write(exact, name="b.flac", subtype="PCM_16"))
    assert audio.sha256(first.samples, RATE) == audio.sha256(second.samples, RATE)
    assert audio.sha256(first.samples, RATE) != audio.sha256(first.samples, 8_000)
    assert audio.sha256(first.samples, RATE) != audio.sha256(first.samples[:-1], RATE)


def test_levels_of_a_long_file_are_those_of_its_frames():
    samples = (
        np.random.default_rng(0).uniform(-1, 1, 8_000 * 50 + 33).astype(np.float32)
    )  # 5001 frames, the last one short
    levels = audio.frame_levels(samples, 8_000)
    power = [
        np.mean(np.pad(samples[i : i + 80], (0, max(0, i + 80 - len(samples)))).astype(float) ** 2)
        for i in range(0, len(samples), 80)
    ]
    np.testing.assert_allclose(levels, 10 * np.log10(power), rtol=1e-9)


def test_levels_are_rms_in_dbfs_of_10_ms_frames():
    levels = audio.frame_levels(padded(20, tone(20, level=1.0), 0), RATE)
    assert levels[:2].tolist() == [-120, -120]
    assert levels[2:] == pytest.approx([-3.01, -3.01], abs=0.1)


@pytest.mark.parametrize("level", [0.01, 0.05, 0.3, 1.0])
def test_audible_bounds_are_those_of_the_sound(level):
    wave = padded(300, tone(500, level=level), 200)
    assert audio.audible_bounds(wave, RATE) == (300 * 16, 800 * 16)


def test_clicks_and_whispers_are_not_audible():
    assert audio.audible_bounds(padded(100, tone(20), 100), RATE) is None
    assert audio.audible_bounds(tone(500, level=0.004), RATE) is None
    assert audio.audible_bounds(np.zeros(0, np.float32), RATE) is None
    assert audio.audible_bounds(np.zeros(100, np.float32), RATE) is None


def test_a_pause_inside_is_part_of_the_sound():
    wave = np.concatenate([tone(100), np.zeros(RATE, np.float32), tone(100)])
    assert audio.audible_bounds(wave, RATE) == (0, len(wave))


def test_speech_bounds_ignore_what_is_40_db_below_the_peak():
    wave = padded(100, tone(500, level=1.0), 100)
    wave[wave == 0] = tone(1000, level=0.009, hz=100)[: np.count_nonzero(wave == 0)]  # hiss over -45 dBFS
    assert audio.audible_bounds(wave, RATE) == (0, len(wave))
    assert audio.speech_bounds(AudioChunk(wave, RATE)) == (100 * NS_PER_MS, 600 * NS_PER_MS)


def test_silence_counts_as_speech_throughout():
    assert audio.speech_bounds(AudioChunk(np.zeros(RATE, np.float32), RATE)) == (0, NS_PER_S)


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 40), st.integers(3, 40), st.integers(0, 40), st.sampled_from([8_000, 16_000, 22_050, 44_100]))
def test_bounds_lie_around_the_sound_to_a_frame(before, length, after, rate):
    size = ns_to_samples(audio.FRAME_NS, rate)
    sound = 0.3 * np.ones(length * size, np.float32)
    wave = np.concatenate([np.zeros(before * size, np.float32), sound, np.zeros(after * size, np.float32)])
    assert audio.audible_bounds(wave, rate) == (before * size, (before + length) * size)


@given(st.integers(0, 10**12), st.sampled_from([8_000, 16_000, 22_050, 24_000, 44_100, 48_000]))
def test_sample_indices_survive_nanoseconds(index, rate):
    assert ns_to_samples(samples_to_ns(index, rate), rate) == index
