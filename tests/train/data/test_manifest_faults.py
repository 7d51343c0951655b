"""Training corpora with faults: each is told with its file and line, and the rest is used."""

import numpy as np
import pytest

from fobench.errors import FobenchError
from reference_model.train.data.corpus import Corpus
from tests.train.data.corpus_files import RATE, lines, tone, wav, wrong


def test_wrong_keys_are_told_with_those_that_are_known(tmp_path):
    wav(tmp_path / "a.wav")
    path = lines(tmp_path / "m.jsonl", [{"sound": "a.wav", "words": "hi"}, {"audio": "a.wav", "words": "hi"}])
    with pytest.raises(FobenchError, match="2 were skipped") as error:
        Corpus.open([path], RATE)
    assert (
        "m.jsonl:1: has none of audio, audio_filepath, audio_path, path, file, wav; its keys are sound, words"
        in str(error.value)
    )
    assert "m.jsonl:2: has none of text, sentence, transcript" in str(error.value)


@pytest.mark.parametrize(
    ("name", "content"), [("m.jsonl", b""), ("m.jsonl", b"\n \n"), ("m.tsv", b"path\ttext\n"), ("m.csv", b"")]
)
def test_an_empty_manifest_is_told(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FobenchError, match=f"No clip of split train in .*{name}"):
        Corpus.open([tmp_path / name], RATE)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere.jsonl", None, "There is no .*nowhere"),
        ("folder", None, "There is no .*folder"),
        ("m.jsonl", b"\xff\xfe\x00", "m.jsonl cannot be read as a manifest"),
        ("m.tar", b"x", "m.tar is not a known manifest format"),
        ("m.xml", b"<x/>", "m.xml is not a known manifest format"),
    ],
)
def test_what_is_no_source_is_told_with_what_is_one(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FobenchError, match=message) as error:
        Corpus.open([tmp_path / name], RATE)
    assert "Give a folder of shards (train-*.tar) or of *.trans.txt, a manifest (.jsonl" in str(error.value)


def test_a_folder_of_neither_kind_is_told(tmp_path):
    with pytest.raises(FobenchError, match=r"holds no shard train-\*\.tar and no \*\.trans\.txt"):
        Corpus.open([tmp_path], RATE)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"audio": "gone.wav", "text": "hi"}, "gone.wav"),
        ({"audio": "noise.wav", "text": "hi"}, "Format not recognised"),
        ({"audio": "empty.wav", "text": "hi"}, "empty.wav is empty"),
        ({"audio": "zero.wav", "text": "hi"}, "zero.wav cannot be read"),
        ({"audio": "a.wav", "text": "?! ..."}, "the transcript has no words: '?! ...'"),
        ({"audio": "a.wav", "text": " "}, "the transcript has no words"),
        ({"audio": "a.wav", "text": 7}, "the transcript has no words: 7"),
        ({"audio": "a.wav", "text": ["hi"]}, "the transcript has no words"),
        ({"audio": "a.wav", "text": "hi", "offset": 9.0}, "its file lasts 0.50 s and has no audio from 9.00 s"),
        ({"audio": "a.wav", "text": "hi", "offset": "late"}, "offset must be seconds of at least 0, not 'late'"),
        (["a.wav", "hi"], "is not an object"),
        ("a.wav", "is not an object"),
        ({"audio": ".", "text": "hi"}, ""),
    ],
)
def test_a_line_that_cannot_be_used_is_skipped_counted_and_named(tmp_path, row, reason):
    wav(tmp_path / "a.wav")
    wav(tmp_path / "empty.wav", np.zeros(0, np.float32))
    (tmp_path / "noise.wav").write_bytes(b"no sound at all")
    (tmp_path / "zero.wav").write_bytes(b"")
    path = lines(tmp_path / "m.jsonl", [{"audio": "a.wav", "text": "good"}, row])
    with path.open("a") as file:
        file.write('{"audio": "a.wav", "text": "torn\n')
    found = wrong(path)
    assert set(found) == {"m.jsonl:2", "m.jsonl:3"}
    assert reason in found["m.jsonl:2"]
    assert "Unterminated string" in found["m.jsonl:3"]


SPOILT = {
    "nan": (np.where(np.arange(8000) == 4000, np.nan, tone()), "not finite"),
    "inf": (np.where(np.arange(8000) == 4000, np.inf, tone()), "not finite"),
    "silent": (np.zeros(8000), "is silent"),
    "integers as floats": (tone() * 32768, "not audio: its peak is 9.8e+03"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_samples_that_are_no_sound_are_left_out_and_named_once(tmp_path, kind):
    samples, reason = SPOILT[kind]
    wav(tmp_path / "bad.wav", samples.astype(np.float32), subtype="FLOAT")
    corpus = Corpus.open([lines(tmp_path / "m.jsonl", [{"id": "x", "audio": "bad.wav", "text": "hi"}])], RATE)
    for _ in range(3):  # epochs
        assert corpus.samples(0) is None
    assert [where for where, _ in corpus.faults.entries] == ["bad.wav/x"]
    assert reason in str(corpus.faults)


def test_antiphase_channels_do_not_vanish(tmp_path):
    wav(tmp_path / "a.wav", np.stack([tone(), -tone()], 1))
    corpus = Corpus.open([lines(tmp_path / "m.jsonl", [{"audio": "a.wav", "text": "hi"}])], RATE)
    np.testing.assert_allclose(corpus.samples(0), tone(), atol=1e-4)


def test_eight_channels_become_one(tmp_path):
    wav(tmp_path / "a.wav", np.stack([tone()] * 8, 1))
    corpus = Corpus.open([lines(tmp_path / "m.jsonl", [{"audio": "a.wav", "text": "hi"}])], RATE)
    np.testing.assert_allclose(corpus.samples(0), tone(), atol=1e-4)


def test_a_file_that_is_cut_short_later_is_left_out(tmp_path):
    path = wav(tmp_path / "a.flac", tone(2.0))
    corpus = Corpus.open([lines(tmp_path / "m.jsonl", [{"audio": "a.flac", "text": "hi"}])], RATE)
    path.write_bytes(path.read_bytes()[:3000])
    assert corpus.samples(0) is None
    assert len(corpus.faults) == 1


def test_an_error_names_the_first_faults_and_counts_the_rest(tmp_path):
    path = lines(tmp_path / "m.jsonl", [{"audio": f"{i}.wav", "text": "hi"} for i in range(1000)])
    with pytest.raises(FobenchError, match=r"1000 were skipped[\s\S]*m.jsonl:1:[\s\S]*and 990 more") as error:
        Corpus.open([path], RATE)
    assert len(str(error.value)) < 3000
