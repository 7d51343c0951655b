"""Clips by number, from shards and from manifests; what cannot be read is left out, counted and named."""

import json
import tarfile

import numpy as np
import pytest
import soundfile

from fobench.errors import FobenchError
from reference_model.train.data import shards
from reference_model.train.data.corpus import Corpus
from reference_model.train.data.manifests import sentence_case
from reference_model.train.data.shards import PackedClip, encode_flac
from reference_model.train.engine.skipped_samples import SkippedSamples


def tone(seconds=0.5, rate=16_000, hz=300.0):
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def packed(name, samples, text="Hello there.", rate=16_000):
    info = {"text": text, "samples": len(samples), "rate_hz": rate, "split": "train"}
    return PackedClip(name, encode_flac(samples, rate), info)


def folder(tmp_path, clips, split="train"):
    shards.write(tmp_path / f"{split}-00000.tar", clips)
    return tmp_path


def manifest(tmp_path, rows):
    path = tmp_path / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_clips_of_shards_are_read_at_random(tmp_path):
    waves = [tone(hz=hz) for hz in (200, 300, 400)]
    corpus = Corpus.open([folder(tmp_path, [packed(f"c{i}", w) for i, w in enumerate(waves)])], 16_000)
    for index in (2, 0, 1):
        np.testing.assert_allclose(corpus.samples(index), waves[index], atol=1e-4)
    assert corpus.hours == pytest.approx(1.5 / 3600)


def test_another_rate_and_two_channels_are_converted(tmp_path):
    stereo = np.stack([tone(rate=8000), tone(rate=8000)], 1)
    soundfile.write(tmp_path / "a.wav", stereo, 8000)
    corpus = Corpus.open([manifest(tmp_path, [{"audio": "a.wav", "text": "hi"}])], 16_000)
    samples = corpus.samples(0)
    assert samples.shape == (8000,)
    assert np.corrcoef(samples[100:-100], tone()[100:-100])[0, 1] > 0.99


def test_what_cannot_be_used_is_named(tmp_path):
    soundfile.write(tmp_path / "good.wav", tone(), 16_000)
    soundfile.write(tmp_path / "short.wav", tone(0.05), 16_000)
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    rows = [
        {"audio": "good.wav", "text": "hi"},
        {"audio": "missing.wav", "text": "hi"},
        {"audio": "broken.wav", "text": "x"},
    ]
    rows += [{"audio": "good.wav", "text": ""}, {"audio": "short.wav", "text": "hi"}, {"text": "hi"}]
    corpus = Corpus.open([manifest(tmp_path, rows)], 16_000)
    assert len(corpus) == 1
    assert [where for where, _ in corpus.faults.entries] == [f"manifest.jsonl:{n}" for n in range(2, 7)]


def test_a_broken_shard_keeps_what_comes_before_the_break(tmp_path):
    path = folder(tmp_path, [packed(f"c{i}", tone()) for i in range(4)]) / "train-00000.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    corpus = Corpus.open([tmp_path], 16_000)
    assert 0 < len(corpus) < 4
    assert "train-00000.tar" in str(corpus.faults)


def members(path):
    """Where each member of a tar begins."""
    with tarfile.open(path) as tar:
        return [member.offset for member in tar]


@pytest.mark.parametrize("kept", range(8))
@pytest.mark.parametrize("within", [0, 100, 600])
def test_no_cut_of_a_shard_goes_unnoticed(tmp_path, kept, within):
    """Between two clips, within a header, within a clip: tarfile itself takes some of them for the end."""
    path = folder(tmp_path, [packed(f"c{i}", tone()) for i in range(4)]) / "train-00000.tar"
    path.write_bytes(path.read_bytes()[: members(path)[kept] + within])
    whole, faults = [], SkippedSamples()
    try:
        corpus = Corpus.open([tmp_path], 16_000)
        whole, faults = [entry.id for entry in corpus.entries], corpus.faults
    except FobenchError as error:
        assert "broken tar" in str(error)
    assert whole == [f"c{i}" for i in range(kept // 2 + (kept % 2 and within == 600))]
    assert not whole or "train-00000.tar: broken tar" in str(faults)


def test_a_hole_in_a_shard_is_noticed(tmp_path):
    path = folder(tmp_path, [packed(f"c{i}", tone()) for i in range(4)]) / "train-00000.tar"
    begin, whole = members(path)[4], path.read_bytes()
    path.write_bytes(whole[:begin] + bytes(512) + whole[begin + 512 :])
    corpus = Corpus.open([tmp_path], 16_000)
    assert [entry.id for entry in corpus.entries] == ["c0", "c1"]
    assert "clips may be missing" in str(corpus.faults)


def test_a_changed_byte_in_a_clip_is_noticed(tmp_path):
    path = folder(tmp_path, [packed(f"c{i}", tone()) for i in range(2)]) / "train-00000.tar"
    corpus = Corpus.open([tmp_path], 16_000)
    data = bytearray(path.read_bytes())
    begin = corpus.entries[0].offset
    data[begin + 60 : begin + 600] = bytes(540)
    path.write_bytes(data)
    assert corpus.samples(0) is None
    assert corpus.samples(1) is not None
    assert [where for where, _ in corpus.faults.entries] == ["train-00000.tar/c0"]


def test_what_is_told_of_a_clip_must_be_there_and_true(tmp_path):
    """Without text, without sound, of a length or a rate that is not its own: skipped, counted and named."""
    good, other = packed("good", tone()), encode_flac(tone(), 16_000)
    about = {"text": "Hi.", "samples": 8000, "rate_hz": 16_000}
    odd = [{**about, "text": t} for t in ("", " ", "?!", 5, None)]
    odd += [{**about, "rate_hz": 0}, {**about, "samples": "many"}, {"text": "Hi."}, [], 3]
    false = [{**about, "samples": 80_000}, {**about, "rate_hz": 8_000}]
    path = tmp_path / "train-00000.tar"
    shards.write(path, [good, *(PackedClip(f"o{i:02}", other, info) for i, info in enumerate([*odd, *false]))])
    with tarfile.open(path, "a") as tar:
        shards._add(tar, "alone.flac", other)
        shards._add(tar, "mute.json", json.dumps(about).encode())
        shards._add(tar, "last.flac", other)
    corpus = Corpus.open([tmp_path], 16_000)
    assert [entry.id for entry in corpus.entries] == ["good", "o10", "o11"]
    assert [corpus.samples(i) is not None for i in range(3)] == [True, False, False]
    named = [where.split("/")[1] for where, _ in corpus.faults.entries]
    assert named == [*(f"o{i:02}" for i in range(10)), "alone", "mute", "last", "o10", "o11"]


def test_a_clip_that_breaks_later_is_left_out(tmp_path):
    corpus = Corpus.open([folder(tmp_path, [packed("c0", tone())])], 16_000)
    path = tmp_path / "train-00000.tar"
    path.write_bytes(bytes(len(path.read_bytes())))
    assert corpus.samples(0) is None
    assert corpus.faults.entries[0][0] == "train-00000.tar/c0"


def test_nothing_left_is_an_error(tmp_path):
    with pytest.raises(FobenchError, match="1 were skipped"):
        Corpus.open([manifest(tmp_path, [{"audio": "missing.wav", "text": "hi"}])], 16_000)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("THE CAT SAT", "The cat sat."), ("the cat", "The cat."), ("Is it?", "Is it?"), ("Dr  Who", "Dr Who.")],
)
def test_transcripts_are_written_as_sentences(given, expected):
    assert sentence_case(given) == expected
