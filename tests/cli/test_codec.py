"""`fobench codec`: what a codec does to speech, by known answers."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from fobench import audio
from fobench.api.types import AudioChunk, Transcript
from fobench.cli.main import main
from fobench.conformance.speech import synthetic
from fobench.matrix import codec_resynthesis
from fobench_plugins.metrics.dnsmos import Dnsmos

RATE = 16_000


class Halves:
    """A codec that keeps the first half of every frame's samples, at 8 bits."""

    sample_rate_hz, frame_rate_hz, num_codebooks, cardinality = RATE, 1000.0, 8, 256

    def encode(self, audio, state=None, last=False):
        wave = np.pad(audio, (0, -len(audio) % 16))
        return np.round((wave.reshape(-1, 16)[:, :8].T + 1) * 127.5).astype(np.int64), None

    def decode(self, codes, state=None, last=False):
        half = codes.T / 127.5 - 1
        return np.concatenate([half, half], 1).ravel().astype(np.float32), None


class Counting:
    """A recognizer that counts the seconds of sound; of what the codec made (halves alike) it misses the last."""

    def __init__(self):
        self.calls = 0

    def transcribe(self, sound):
        self.calls += 1
        words = ["red", "green", "blue", "white", "black"][: len(sound.samples) // sound.rate_hz]
        frames = sound.samples[: len(sound.samples) // 16 * 16].reshape(-1, 16)
        coded = np.array_equal(frames[:, :8], frames[:, 8:])
        return Transcript(" ".join(words[:-1] if coded else words))


class Loudness:
    def measure(self, sound):
        return {"ovrl": float(np.abs(sound.samples).max())} if len(sound.samples) > RATE else {}


def clip(seconds, text=None, name="clip"):
    sound = np.resize(synthetic().samples, seconds * RATE)
    return codec_resynthesis.CodecClip(name, AudioChunk(sound, RATE), text)


def control(clips):
    return codec_resynthesis.CodecBenchmark(Counting(), Loudness()).control("halves", Halves(), clips)


def test_the_codecs_share_is_what_is_worse_after():
    """4 and 2 words, of which "black" is heard as "white" before, and one more of each is missed after."""
    found = control([clip(4, "red green blue black"), clip(2, "red green", "b")])
    assert found.wer("before") == pytest.approx(1 / 6)
    assert found.wer("after") == pytest.approx(2 / 6)  # what was misheard is missed now: still one
    assert found.codec_wer()[0] == pytest.approx(1 / 6)
    assert found.codec_wer()[1] is None  # two clips are too few for an interval
    assert found.referenced
    assert found.bits_per_s == 64_000


def test_without_a_text_the_words_heard_before_are_the_reference():
    found = control([clip(3)])
    assert not found.referenced
    assert (found.wer("before"), found.wer("after")) == (0, pytest.approx(1 / 3))


def test_a_clip_without_a_word_and_one_too_short_to_rate_are_no_zeros():
    found = control([codec_resynthesis.CodecClip("hum", AudioChunk(np.zeros(RATE // 2, np.float32), RATE))])
    assert found.wer("after") is None
    assert found.codec_wer() == (None, None)
    assert found.mos("after") is None
    assert found.to_json()["totals"]["n_mos"] == 0


def test_the_sound_comes_back_as_long_as_it_was():
    sound = AudioChunk(np.resize(synthetic().samples, 10_007), RATE)
    back, encode_s, decode_s = codec_resynthesis.resynthesis(Halves(), sound)
    assert len(back.samples) == 10_007
    assert encode_s > 0 < decode_s


def test_codecs_share_what_is_heard_in_the_originals():
    ears = Counting()
    bench = codec_resynthesis.CodecBenchmark(ears, Loudness())
    for name in ("a", "b", "c"):
        bench.control(name, Halves(), [clip(2), clip(3)])
    assert ears.calls == 2 + 3 * 2


# ---- The command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def toys(registered):
    registered(codecs=Halves(), recognizers=Counting())


@pytest.fixture
def quick(monkeypatch):
    """Loudness in the place of DNSMOS, whose network takes seconds a clip."""
    monkeypatch.setattr(Dnsmos, "measure", Loudness.measure)


def command(*args):
    return CliRunner().invoke(main, ["codec", *map(str, args)])


def saved(path, seconds=2):
    audio.save(path, clip(seconds).audio.samples, RATE)
    return path


def test_it_writes_the_sound_and_its_scores(toys, quick, tmp_path):
    wav = saved(tmp_path / "hello.wav")
    done = command("toy", wav, "--judge", "toy", "--text", "red green", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "50.0 %" in done.output
    back = audio.load(tmp_path / "out" / "hello.flac")
    assert (len(back.samples), back.rate_hz) == (2 * RATE, RATE)
    record = json.loads((tmp_path / "out" / "codec.json").read_text())
    assert record["totals"]["codec_wer"] == 0.5
    assert 0 < record["totals"]["dnsmos_before"] <= 1
    assert "transcript" not in record["clips"][0]["after"]
    heard = json.loads((tmp_path / "out" / "heard.json").read_text())
    assert heard == [{"clip": "hello", "before": "red green", "after": "red"}]


def test_several_codecs_stand_in_one_table(toys, quick, tmp_path):
    wav = saved(tmp_path / "hello.wav")
    wrong = command("toy,codec2", wav, "--judge", "toy", "--args", "opus:bitrate=1300")
    assert "Unknown codec in --args 'opus'" in wrong.output
    done = command("toy,codec2", wav, "--judge", "toy", "--args", "codec2:bitrate=2400", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    lines = (tmp_path / "out" / "codecs.md").read_text().splitlines()
    assert lines[0] == "# 1 clip, WER against the transcripts of the originals"
    assert [line.split(" | ")[:2] for line in lines[4:6]] == [["| toy", "64.00"], ["| codec2", "2.40"]]
    for name in ("toy", "codec2"):
        record = json.loads((tmp_path / "out" / name / "codec.json").read_text())
        assert record["codec"] == name
        assert (tmp_path / "out" / name / "hello.flac").is_file()


def test_a_suites_turns_are_coded_with_their_texts(toys, quick, tmp_path):
    for name in ("a", "b"):
        saved(tmp_path / f"{name}.flac")
    lines = [{"audio": f"{name}.flac", "text": "red green", "id": name} for name in ("a", "b")]
    manifest = tmp_path / "clips.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    done = command("toy", "--judge", "toy", "-s", f"manifest:{manifest}", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out" / "codec.json").read_text())
    assert (record["totals"]["n"], record["totals"]["wer_before"], record["totals"]["wer_after"]) == (2, 0.0, 0.5)
    assert record["totals"]["referenced"] is True


def test_wrong_use_is_told(toys, tmp_path):
    assert "No clips: name audio files" in command("toy").output
    two = [saved(tmp_path / "a.wav"), saved(tmp_path / "b.wav")]
    assert "--text is the text of one clip, not of 2" in command("toy", *two, "--text", "x").output
    (tmp_path / "c").mkdir()
    again = saved(tmp_path / "c" / "a.wav")
    assert "Two clips have the same name" in command("toy", two[0], again).output
    unknown = command("tyo", two[0])
    assert unknown.exit_code == 2
    assert "Did you mean 'toy'" in unknown.output
