"""Audio files as they come: streamed, cut, odd, wide and damaged ones are read right or refused by name, in bounded memory."""

import io
import resource
import struct
import tracemalloc

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from fobench import audio
from fobench.audio import decoding
from fobench.audio.decoding import NOTE_CANCELED, NOTE_LONGER, NOTE_UNENDED, decode, mix_down, open_sound
from fobench.audio.facts import audio_facts
from fobench.errors import FobenchError

RATE = 16_000


def tone(seconds=0.5, rate=RATE, hz=440.0, level=0.3):
    return (level * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def encoded(samples, rate=RATE, **options):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", **options})
    return file.getvalue()


def with_sizes(wav, riff=None, data=None):
    """A WAV file's bytes with other sizes in its header."""
    at = wav.index(b"data") + 4
    for place, size in ((4, riff), (at, data)):
        if size is not None:
            wav = wav[:place] + struct.pack("<I", size) + wav[place + 4 :]
    return wav


@pytest.fixture
def put(tmp_path):
    def put(content, name="clip.wav"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return put


# ---- streamed and cut files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_U8", "FLOAT", "ULAW"])
@pytest.mark.parametrize(
    "sizes", [(0, 0), (36, 0), (0xFFFFFFFF, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFFFFF, 0x7FFFF000)]
)
def test_a_streamed_file_is_read_to_its_end(put, sizes, subtype):
    whole = encoded(tone(), subtype=subtype)
    np.testing.assert_array_equal(decode(put(with_sizes(whole, *sizes))).samples, decode(put(whole)).samples)


def test_a_streamed_flac_file_is_read_to_its_end(put):
    flac = bytearray(encoded(tone(), format="FLAC"))
    flac[21] &= 0xF0  # the number of samples, 36 bits: unknown
    flac[22:26] = bytes(4)
    assert len(decode(put(bytes(flac), "a.flac")).samples) == 8000


def test_an_empty_file_with_more_chunks_stays_empty(put):
    empty = encoded(np.zeros(0, np.float32)) + b"LIST" + struct.pack("<I", 200) + bytes(200)
    with pytest.raises(FobenchError, match=r"clip\.wav is empty"):
        decode(put(with_sizes(empty, riff=len(empty) - 8)))


@pytest.mark.parametrize("form", ["WAV", "AIFF", "AU"])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "ULAW"])
def test_a_cut_file_is_refused_with_what_is_there(put, form, subtype):
    whole = encoded(tone(2.0), format=form, subtype=subtype)
    with pytest.raises(FobenchError, match=r"is cut: its header promises 2\.00 s, and (0\.9|1\.0)\d s are there"):
        decode(put(whole[: len(whole) // 2], f"a.{form.lower()}"))


def test_a_flac_file_that_promises_more_is_refused(put):
    flac = bytearray(encoded(tone(), format="FLAC"))
    flac[22:26] = struct.pack(">I", 10 * RATE)
    with pytest.raises(FobenchError, match=r"is cut: its header promises 10\.00 s, and 0\.50 s are there"):
        decode(put(bytes(flac), "a.flac"))


def test_a_cut_mp3_file_is_refused(put):
    mp3 = encoded(tone(5.0), format="MP3")
    with pytest.raises(FobenchError, match=r"a\.mp3 is cut"):
        decode(put(mp3[: len(mp3) // 2], "a.mp3"))


def test_a_few_bytes_less_are_no_cut(put):
    whole = encoded(tone())
    assert len(decode(put(whole[:-100])).samples) == 7950


def test_a_cut_ogg_file_is_noted(put):
    ogg = encoded(tone(5.0), format="OGG", subtype="OPUS")
    assert decode(put(ogg, "a.ogg")).notes == ()
    assert decode(put(ogg[: len(ogg) * 3 // 5], "a.ogg")).notes == (NOTE_UNENDED,)


def test_a_header_that_ends_before_the_file_is_noted(put):
    whole = encoded(tone(2.0))
    assert decode(put(with_sizes(whole, riff=36 + 3200, data=3200))).notes == (NOTE_LONGER,)


# ---- channels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [-1.0, -0.9, -1.1])
def test_antiphase_channels_are_replaced_by_the_loudest(put, gain):
    left = tone()
    decoded = decode(put(encoded(np.stack([left, gain * left], 1), subtype="FLOAT")))
    np.testing.assert_array_equal(decoded.samples, left if abs(gain) <= 1 else (np.float32(gain) * left))
    assert decoded.notes == (NOTE_CANCELED,)


@pytest.mark.parametrize("other", [tone(), tone(hz=300.0), 0 * tone(), -0.4 * tone(), np.roll(tone(), 9)])
def test_other_channels_are_averaged(put, other):
    stereo = np.stack([tone(), other], 1).astype(np.float32)
    decoded = decode(put(encoded(stereo, subtype="FLOAT")))
    np.testing.assert_array_equal(decoded.samples, stereo.mean(axis=1))
    assert decoded.notes == ()


@given(st.integers(2, 12), st.integers(0, 2**31))
def test_one_speaking_channel_of_many_is_heard(channels, seed):
    wave = np.zeros((4000, channels), np.float32)
    active = seed % channels
    wave[:, active] = tone(0.25)
    np.testing.assert_allclose(mix_down(wave), wave[:, active] / channels, atol=1e-7)


@given(st.integers(1, 4), st.floats(0.05, 1.0), st.integers(0, 2**31))
def test_channels_in_pairs_of_opposite_sign_never_vanish(pairs, level, seed):
    rng = np.random.default_rng(seed)
    halves = (level * rng.uniform(-1, 1, (2000, pairs))).astype(np.float32)
    mono = mix_down(np.column_stack([halves, -halves]))
    assert np.sqrt(np.mean(mono**2)) > 0.4 * level


# ---- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1, 100, 3_999, 768_001, 2_000_000_000])
def test_rates_outside_of_the_limits_are_refused(put, rate):
    with pytest.raises(
        FobenchError, match=rf"clip\.wav has a sample rate of {rate:,} Hz; it must be 4,000 to 768,000 Hz"
    ):
        decode(put(encoded(tone(), rate)))


@pytest.mark.parametrize("rate", [4_000, 5_512, 8_000, 44_100, 96_000])
def test_a_rate_is_kept_up_to_96_khz(put, rate):
    decoded = decode(put(encoded(tone(0.5, rate), rate)))
    assert (decoded.rate_hz, len(decoded.samples)) == (rate, rate // 2)


@pytest.mark.parametrize("rate", [176_400, 192_000, 384_000, 768_000])
def test_higher_rates_are_read_at_48_khz(put, rate):
    decoded = decode(put(encoded(tone(0.5, rate, 1000.0), rate, subtype="FLOAT")))
    assert decoded.rate_hz == 48_000
    assert len(decoded.samples) == pytest.approx(24_000, abs=2)
    middle = slice(2_000, 22_000)
    np.testing.assert_allclose(
        decoded.samples[middle], tone(0.5, 48_000, 1000.0)[: len(decoded.samples)][middle], atol=2e-3
    )


@pytest.mark.parametrize("channels", [65, 300, 1024])
def test_too_many_channels_are_refused(put, channels):
    with pytest.raises(FobenchError, match=rf"has {channels} channels; it may have 64"):
        decode(put(encoded(np.zeros((10, channels), np.float32))))


def test_a_length_that_the_header_does_not_tell_is_limited_while_reading(put, monkeypatch):
    monkeypatch.setattr(decoding, "MAX_DURATION_S", 1)
    streamed = with_sizes(encoded(tone(3.0)), 0, 0)
    with pytest.raises(FobenchError, match="lasts 3 s; a turn may last 1 s"):
        decode(put(streamed))
    flac = bytearray(encoded(tone(30.0), format="FLAC"))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    with pytest.raises(FobenchError, match=r"lasts \d+ s; a turn may last 1 s"):
        decode(put(bytes(flac), "a.flac"))


def test_a_wide_and_fast_file_is_read_in_little_memory(put):
    """64 channels at 192 kHz for 1 s are 49 MB as floats; decoded, they are 0.2 MB."""
    path = put(encoded(np.zeros((192_000, 64), np.int16), 192_000, subtype="PCM_U8"))
    tracemalloc.start()
    decode(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16e6


# ---- names and formats -------------------------------------------------------------------------------------------------


def test_a_git_lfs_pointer_is_named_as_such(put):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 99\n"
    with pytest.raises(
        FobenchError, match=r"clip\.wav is a Git LFS pointer, not the audio itself\. Fetch it: git lfs pull"
    ):
        decode(put(pointer))


@pytest.mark.parametrize("name", ["clip.m4a", "clip.webm", "clip.raw", "clip.txt", "clip"])
def test_an_unknown_format_is_refused_with_those_that_are_known(put, name):
    with pytest.raises(FobenchError, match=rf"{name} cannot be read: .*Supported formats: WAV, FLAC.*ffmpeg"):
        decode(put(b"\x00\x00\x00\x20ftypM4A " + bytes(100), name))


@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM"]
)
def test_sample_formats_give_the_same_sound(put, subtype):
    samples = decode(put(encoded(tone(), subtype=subtype))).samples[:8000]
    assert np.corrcoef(samples, tone())[0, 1] > 0.99
    assert np.abs(samples - tone())[1000:2000].max() < 0.02


def test_a_name_that_is_no_text_is_read(tmp_path):
    path = tmp_path / "half \udcff.wav"
    path.write_bytes(encoded(tone()))
    assert len(decode(path).samples) == 8000


# ---- any bytes ---------------------------------------------------------------------------------------------------------

WHOLE = {form: encoded(tone(0.25), format=form) for form in ("WAV", "FLAC", "AIFF", "AU")}
WHOLE["RF64"] = encoded(tone(0.25), format="RF64")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("mutated") / "clip.wav"


def read_or_refuse(path, content):
    """The samples, or None where the file is refused; any other error is a fault."""
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        samples = audio.load(path).samples
    except FobenchError as error:
        assert str(path) in str(error)
        samples = None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 << 10  # KiB
    assert samples is None or (samples.dtype == np.float32 and len(samples) and np.isfinite(samples).all())
    return samples


@given(st.sampled_from(sorted(WHOLE)), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8))
def test_changed_bytes_are_read_or_refused(scratch, form, changes):
    content = bytearray(WHOLE[form])
    for place, value in changes:
        content[int(place * (len(content) - 1))] = value
    read_or_refuse(scratch, bytes(content))


@given(st.sampled_from(sorted(WHOLE)), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2**32 - 1)), max_size=4))
def test_changed_header_fields_are_read_or_refused(scratch, form, changes):
    content = bytearray(WHOLE[form])
    for place, value in changes:
        content[place : place + 4] = struct.pack("<I", value)
    read_or_refuse(scratch, bytes(content))


@given(st.sampled_from(sorted(WHOLE)), st.floats(0, 1))
def test_what_is_cut_is_refused_or_all_but_whole(scratch, form, share):
    content = WHOLE[form]
    samples = read_or_refuse(scratch, content[: int(share * len(content))])
    assert samples is None or 4000 - len(samples) <= 0.1 * RATE


@given(st.sampled_from(sorted(WHOLE)), st.binary(max_size=300))
def test_bytes_after_the_end_change_nothing(scratch, form, more):
    samples = read_or_refuse(scratch, WHOLE[form] + more)
    assert samples is None or np.array_equal(samples[:4000], decode_bytes(WHOLE[form]))


def decode_bytes(content):
    with open_sound(content) as sound:
        return np.concatenate([block[:, 0] for block in sound.blocks()])


@given(st.binary(max_size=400))
def test_any_bytes_are_refused(scratch, content):
    assert read_or_refuse(scratch, content) is None


@given(st.sampled_from(["WAV", "FLAC"]), st.integers(0, 4000), st.integers(1, 4000))
def test_a_part_equals_that_part_of_the_whole(form, first, count):
    with open_sound(WHOLE[form]) as sound:
        sound.seek(first)
        part = np.concatenate([np.zeros((0, 1), np.float32), *sound.blocks(count)])[:, 0]
    np.testing.assert_array_equal(part, decode_bytes(WHOLE[form])[first : first + count])


@pytest.mark.parametrize("function", [audio.load, audio_facts])
def test_less_than_a_sample_at_the_lower_rate_is_empty(tmp_path, function):
    soundfile.write(tmp_path / "short.wav", np.full(1, 0.5), 192_000)
    with pytest.raises(FobenchError, match=r"short\.wav is empty"):
        function(tmp_path / "short.wav")
