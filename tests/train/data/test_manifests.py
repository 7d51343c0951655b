"""Speech corpora in the forms that they come in; whatever is wrong with them is told by name, and the rest is used."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st

from fobench.errors import FobenchError, PrerequisiteError
from reference_model.train.data.corpus import Corpus
from tests.train.data.corpus_files import RATE, lines, texts, tone, wav, wrong

# ---- forms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("audio", ["audio", "audio_filepath", "path", "wav"])
@pytest.mark.parametrize("text", ["text", "sentence", "transcript"])
def test_keys_are_known_by_many_names(tmp_path, audio, text):
    wav(tmp_path / "a.wav")
    assert texts(lines(tmp_path / "m.jsonl", [{audio: "a.wav", text: "hello there"}])) == ["Hello there."]


def test_nemo_may_cut_clips_out_of_long_files(tmp_path):
    path = wav(tmp_path / "long.wav", np.concatenate([tone(1.0, 200), tone(1.0, 400)]))
    row = {"audio_filepath": str(path), "text": "the second", "offset": 1.25, "duration": 0.5}
    corpus = Corpus.open([lines(tmp_path / "m.json", [row])], RATE)
    np.testing.assert_allclose(corpus.samples(0), tone(1.0, 400)[4000:12_000], atol=1e-4)
    assert corpus.hours == 0.5 / 3600


def test_the_first_segment_of_a_file_ends_where_its_duration_says(tmp_path):
    wave = np.concatenate([tone(1.0, 200), tone(1.0, 400), tone(1.0, 600)])
    wav(tmp_path / "talk.wav", wave)
    rows = [
        {"audio_filepath": "talk.wav", "offset": 0.0, "duration": 0.5, "text": "first"},
        {"audio_filepath": "talk.wav", "duration": 1.5, "text": "no offset"},
        {"audio_filepath": "talk.wav", "offset": 2.25, "text": "no duration"},
        {"audio_filepath": "talk.wav", "offset": None, "duration": None, "text": "all"},
        {"audio_filepath": "talk.wav", "offset": 2.0, "duration": 1.05, "text": "to the end, within the tolerance"},
    ]
    corpus = Corpus.open([lines(tmp_path / "m.jsonl", rows)], RATE)
    assert len(corpus.faults) == 0
    spans = [(0, 8000), (0, 24_000), (36_000, 48_000), (0, 48_000), (32_000, 48_000)]
    for index, (first, last) in enumerate(spans):
        np.testing.assert_allclose(corpus.samples(index), wave[first:last], atol=1e-4)


@pytest.fixture(scope="module")
def long_file(tmp_path_factory):
    """A file of noise, 3 s at 16 kHz, and its samples as they are read."""
    path = tmp_path_factory.mktemp("long") / "long.flac"
    wav(path, np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE).astype(np.float32))
    return path, soundfile.read(path, dtype="float32")[0]


@example(first=3 * RATE - 2400, count=2400)
@given(st.integers(0, 3 * RATE - 2400), st.integers(2400, 3 * RATE))
def test_a_segment_is_that_part_of_the_file_to_the_sample(long_file, first, count):
    path, samples = long_file
    count = min(count, len(samples) - first)
    row = {"audio": str(path), "text": "hi", "offset": first / RATE, "duration": count / RATE}
    corpus = Corpus.open([lines(path.with_suffix(".jsonl"), [row])], RATE)
    np.testing.assert_array_equal(corpus.samples(0), samples[first : first + count])


TIMES = st.one_of(
    st.floats(),
    st.integers(),
    st.booleans(),
    st.text(max_size=5),
    st.sampled_from([0, -1, 0.0, "0.5", "half", [0.5], {"s": 1}, 1e300, 2**70]),
)


@given(st.sampled_from(["offset", "duration"]), TIMES)
def test_what_is_no_time_is_a_fault_and_never_another_clip(long_file, key, value):
    path, samples = long_file
    good = {"id": "good", "audio": str(path), "text": "good"}
    corpus = Corpus.open(
        [lines(path.with_suffix(".jsonl"), [good, {**good, "id": "odd", "text": "odd", key: value}])], RATE
    )
    if len(corpus) == 1:
        assert [where for where, _ in corpus.faults.entries] == ["long.jsonl:2"]
        return
    number = 0 if value == "" else value
    assert type(number) in (int, float)
    first, last = (round(number * RATE), len(samples)) if key == "offset" else (0, round(number * RATE) or len(samples))
    np.testing.assert_array_equal(corpus.samples(1), samples[first:last])


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"duration": 0}, "duration must be seconds above 0, not 0"),
        ({"duration": -1.0}, "duration must be seconds above 0, not -1.0"),
        ({"duration": "0.3"}, "duration must be seconds above 0, not '0.3'"),
        ({"duration": True}, "duration must be seconds above 0, not True"),
        ({"duration": [0.3]}, r"duration must be seconds above 0, not [0.3]"),
        ({"duration": float("nan")}, "NaN"),
        ({"offset": float("inf")}, "Infinity"),
        ({"offset": -0.1}, "offset must be seconds of at least 0, not -0.1"),
        ({"duration": 0.8}, "its file lasts 0.50 s and has no audio from 0.00 s to 0.80 s"),
        ({"offset": 0.2, "duration": 0.5}, "has no audio from 0.20 s to 0.70 s"),
        ({"offset": 0.5}, "has no audio from 0.50 s to 0.50 s"),
        ({"duration": 0.1}, "lasts 0.10 s, not 0.15 to 20.0 s"),
        ({"audio": ["a.wav"]}, "its audio must be the path of a file, not ['a.wav']"),
        ({"text": ["one", "two"]}, "the transcript has no words: ['one', 'two']"),
        ({"start": 0.1, "end": 0.3}, "is a part of its file, 0.1 to 0.3; write it as offset and duration"),
        ({"id": "good"}, "its id 'good' is that of an earlier clip"),
    ],
)
def test_a_clip_that_cannot_be_cut_out_is_a_fault_of_its_line(tmp_path, more, reason):
    wav(tmp_path / "a.wav")
    rows = [{"id": "good", "audio": "a.wav", "text": "good"}, {"audio": "a.wav", "text": "hi", **more}]
    corpus = Corpus.open([lines(tmp_path / "m.jsonl", rows)], RATE)
    assert [entry.text for entry in corpus.entries] == ["Good."]
    assert [where for where, _ in corpus.faults.entries] == ["m.jsonl:2"]
    assert reason in str(corpus.faults)


def test_numbers_of_a_table_are_read_as_such(tmp_path):
    wav(tmp_path / "a.wav", tone(2.0))
    path = tmp_path / "m.tsv"
    path.write_text("path\toffset\tduration\ttext\na.wav\t0.5\t0.75\tone\na.wav\t\t\ttwo\na.wav\tlate\t1\tthree\n")
    corpus = Corpus.open([path], RATE)
    assert [(e.text, e.start, e.seconds) for e in corpus.entries] == [("One.", 0.5, 0.75), ("Two.", 0.0, 2.0)]
    assert [where for where, _ in corpus.faults.entries] == ["m.tsv:4"]


def test_a_row_with_more_or_fewer_fields_than_the_header_is_a_fault(tmp_path):
    wav(tmp_path / "a.wav")
    path = tmp_path / "m.csv"
    path.write_text('path,text\na.wav,"Hello, there"\na.wav,Hello, there\na.wav\n')
    corpus = Corpus.open([path], RATE)
    assert [e.text for e in corpus.entries] == ["Hello, there."]
    assert corpus.faults.entries == [
        ("m.csv:3", "has 3 fields, and the header 2"),
        ("m.csv:4", "has 1 fields, and the header 2"),
    ]
    path.write_text("path,text,text\na.wav,one,two\n")
    with pytest.raises(
        FobenchError, match=r"m\.csv cannot be read as a manifest: its header has 'text' more than once"
    ):
        Corpus.open([path], RATE)


SEPARATORS = ["\N{LINE SEPARATOR}", "\N{PARAGRAPH SEPARATOR}", "\x85"]


@pytest.mark.parametrize("separator", SEPARATORS)
def test_unicode_line_separators_end_no_line(tmp_path, separator):
    wav(tmp_path / "a.wav")
    row = {"audio": "a.wav", "text": f"one{separator}two"}
    (tmp_path / "m.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    (tmp_path / "m.tsv").write_text(f"path\ttext\na.wav\tone{separator}two\n", encoding="utf-8")
    chapter = tmp_path / "84"
    wav(chapter / "84-1-0000.flac")
    (chapter / "84-1.trans.txt").write_text(f"84-1-0000 ONE{separator}TWO\n", encoding="utf-8")
    for source in (tmp_path / "m.jsonl", tmp_path / "m.tsv", chapter):
        corpus = Corpus.open([source], RATE)
        assert ([e.text for e in corpus.entries], len(corpus.faults)) == (["One two."], 0)


@pytest.mark.parametrize("name", ["m.jsonl", "m.tsv", "84/84-1.trans.txt"])
def test_byte_order_marks_are_read_over_and_other_encodings_refused(tmp_path, name):
    for clip in ("a.wav", "84/84-1-0000.wav"):
        wav(tmp_path / clip)
    content = {
        "m.jsonl": '{"audio": "a.wav", "text": "o\u00f9 est"}\n',
        "m.tsv": "path\ttext\na.wav\to\u00f9 est\n",
        "84/84-1.trans.txt": "84-1-0000 O\u00f9 EST\n",
    }[name]
    path, source = tmp_path / name, tmp_path / name.partition("/84-1")[0]
    path.write_text(content, encoding="utf-8-sig")
    assert [text.lower() for text in texts(source)] == ["o\u00f9 est."]
    path.write_text(content, encoding="latin-1")
    with pytest.raises(FobenchError, match="it is not UTF-8: invalid start byte at byte"):
        Corpus.open([source], RATE)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


@pytest.mark.parametrize("name", ["m.jsonl", "m.tsv", "train-0.tar", "clip.wav", "hub/a.parquet"])
def test_git_lfs_pointers_are_told_with_the_command_that_fetches_the_file(tmp_path, name):
    row = {"audio": "clip.wav", "text": "hi"}
    source = lines(tmp_path / "clips.jsonl", [row]) if name == "clip.wav" else tmp_path / name
    if name.startswith("hub"):
        pytest.importorskip("datasets")
        (tmp_path / "hub").mkdir()
        source = Path(f"hub:{tmp_path / 'hub'}")
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(FobenchError, match=r"Git LFS pointer.*git lfs pull"):
        Corpus.open([tmp_path if name.endswith(".tar") else source], RATE)


def test_a_cut_recording_is_no_clip(tmp_path):
    path = wav(tmp_path / "a.wav", tone(2.0))
    path.write_bytes(path.read_bytes()[:32_000])
    wav(tmp_path / "b.wav")
    rows = [{"audio": name, "text": "hello there"} for name in ("a.wav", "b.wav")]
    found = wrong(lines(tmp_path / "m.jsonl", rows))
    assert list(found) == ["m.jsonl:1"]
    assert "a.wav is cut: its header promises 2.00 s" in found["m.jsonl:1"]


def test_clips_of_one_id_from_two_sources_stay_two_clips(tmp_path):
    for name in ("one", "two"):
        wav(tmp_path / name / "a.wav", tone(hz=200.0 if name == "one" else 300.0))
        lines(tmp_path / name / "m.jsonl", [{"id": "same", "audio": "a.wav", "text": name}])
    sources = [tmp_path / name / "m.jsonl" for name in ("one", "two", "one")]
    corpus = Corpus.open(sources, RATE)
    assert [(e.id, e.text) for e in corpus.entries] == [("same", "One."), ("same#2", "Two."), ("same", "One.")]
    assert not np.allclose(corpus.samples(0), corpus.samples(1))


def test_names_of_splits_are_understood(tmp_path):
    wav(tmp_path / "a.wav")
    rows = [
        {"audio": "a.wav", "text": str(i), "split": s} for i, s in enumerate(["dev", "validation", None, "", "train"])
    ]
    path = lines(tmp_path / "m.jsonl", rows)
    assert texts(path, split="valid") == ["0.", "1."]
    assert texts(path) == ["2.", "3.", "4."]


def test_a_table_of_common_voice(tmp_path):
    wav(tmp_path / "clips" / "a.mp3", format="MP3")
    wav(tmp_path / "clips" / "b.mp3", format="MP3")
    path = tmp_path / "train.tsv"
    path.write_text('client_id\tpath\tsentence\nx1\ta.mp3\tHe said "no.\nx2\tb.mp3\tYes.\nx3\tc.mp3\tGone.\n')
    corpus = Corpus.open([path], RATE)
    assert [(e.text, e.info["speaker"]) for e in corpus.entries] == [('He said "no.', "x1"), ("Yes.", "x2")]
    assert [where for where, _ in corpus.faults.entries] == ["train.tsv:4"]
    assert corpus.samples(0) is not None


def test_a_folder_in_librispeechs_form(tmp_path):
    chapter = tmp_path / "dev-clean" / "84" / "121123"
    wav(chapter / "84-121123-0000.flac")
    wav(chapter / "84-121123-0001.flac", tone(1.0))
    (chapter / "84-121123.trans.txt").write_text(
        "84-121123-0000 GO DO YOU HEAR\n84-121123-0001 BUT\n84-121123-0002 LOST\n"
    )
    corpus = Corpus.open([tmp_path], RATE)
    assert [(e.id, e.text, e.info["speaker"]) for e in corpus.entries] == [
        ("84-121123-0000", "Go do you hear.", "84"),
        ("84-121123-0001", "But.", "84"),
    ]
    assert "84-121123-0002.flac" in str(corpus.faults)
    assert len(corpus.samples(1)) == RATE


def test_lines_that_name_a_split_are_of_it(tmp_path):
    wav(tmp_path / "a.wav")
    rows = [
        {"audio": "a.wav", "text": t, "split": s} for t, s in (("one", "train"), ("two", "valid"), ("three", "test"))
    ]
    path = lines(tmp_path / "m.jsonl", [*rows, {"audio": "a.wav", "text": "four"}])
    assert texts(path) == ["One.", "Four."]
    assert texts(path, split="valid") == ["Two."]


def test_clips_of_two_manifests_have_names_of_their_own(tmp_path):
    for name in ("one", "two"):
        wav(tmp_path / name / "a.wav")
        lines(tmp_path / name / "m.jsonl", [{"audio": "a.wav", "text": name}])
    corpus = Corpus.open([tmp_path / "one" / "m.jsonl", tmp_path / "two" / "m.jsonl"], RATE)
    assert len({entry.id for entry in corpus.entries}) == 2


# ---- the hub ---------------------------------------------------------------------------------------------------------


def parquet(path, clips, said):
    """A file in the layout of the hub's sets: audio as {bytes, path}."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"audio": clips, "text": said, "speaker_id": list(range(len(said)))}), path)


def clip(seconds=0.5, rate=RATE):
    file = io.BytesIO()
    soundfile.write(file, tone(seconds, rate=rate), rate, format="FLAC")
    return {"bytes": file.getvalue(), "path": "a.flac"}


def test_a_copy_without_rows_or_with_one_id_twice_is_told(datasets, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    parquet(tmp_path / "none" / "a.parquet", [], [])
    with pytest.raises(FobenchError, match=r"none contains no row of split train in a\.parquet"):
        Corpus.open([Path(f"hub:{tmp_path / 'none'}")], RATE)
    (tmp_path / "twice").mkdir()
    table = {"audio": [clip(), clip(1.0)], "text": ["one", "two"], "id": ["x", "x"]}
    pq.write_table(pa.table(table), tmp_path / "twice" / "a.parquet")
    corpus = Corpus.open([Path(f"hub:{tmp_path / 'twice'}")], RATE)
    assert [e.text for e in corpus.entries] == ["One."]
    assert "its id 'x' is that of an earlier clip" in str(corpus.faults)


def test_a_copy_of_a_data_set_of_the_hub(datasets, tmp_path):
    bad = {"bytes": b"no sound", "path": "b.flac"}
    parquet(tmp_path / "copy/data/train-00000-of-00001.parquet", [clip(), bad, clip(1.0, 8000)], ["HI YOU", "x", "bye"])
    parquet(tmp_path / "copy/data/validation-00000-of-00001.parquet", [clip()], ["kept aside"])
    source = Path(f"hub:{tmp_path / 'copy'}")
    corpus = Corpus.open([source], RATE)
    assert [(e.text, e.info["speaker"]) for e in corpus.entries] == [("Hi you.", "0"), ("Bye.", "2")]
    assert [len(corpus.samples(i)) for i in (1, 0)] == [RATE, RATE // 2]
    assert [where for where, _ in corpus.faults.entries] == [f"{source}:1"]
    assert texts(source, split="valid") == ["Kept aside."]


@pytest.mark.parametrize("name", ["hub:nobody/has-this", "hub:{}"])
def test_a_data_set_that_cannot_be_had_is_told_with_the_way_to_it(datasets, tmp_path, monkeypatch, name):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(PrerequisiteError, match=r"is not available: [\s\S]* hf download --repo-type dataset"):
        Corpus.open([Path(name.format(tmp_path))], RATE)
