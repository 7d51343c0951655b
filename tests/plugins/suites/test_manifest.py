"""Manifests: own recordings as scenarios, and bad lines told by file, line and reason."""

import json
import struct

import numpy as np
import pytest
import soundfile

from fobench import audio
from fobench.api.scenario import Anchor
from fobench.api.types import NS_PER_MS
from fobench.errors import FobenchError
from tests.support.suite_sounds import RATE, create, scenarios, sound

MS = NS_PER_MS
pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def folder(tmp_path):
    """A folder with two clips of known bounds: silence 200 ms, sound 500 ms, silence 100 ms."""
    for name in ("a", "b"):
        wave = np.concatenate([np.zeros(3_200, np.float32), sound(), np.zeros(1_600, np.float32)])
        soundfile.write(tmp_path / f"{name}.wav", wave, RATE)
    return tmp_path


def manifest(folder, *lines):
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (folder / "manifest.jsonl").write_text(text + "\n")
    return f"manifest:{folder}"


def test_a_line_becomes_a_scenario(folder):
    line = {"id": "x", "audio": "a.wav", "text": "Who?", "answers": ["Me", "I"], "speaker": "ann", "tags": {"room": 3}}
    (found,) = scenarios(manifest(folder, line))
    assert (found.id, found.suite, found.group) == ("x", f"manifest:{folder.name}", "ann")
    assert found.expect.answers == ("Me", "I")
    assert found.tags == {"room": "3"}
    (turn,) = found.turns
    assert (turn.text, turn.role, turn.anchor) == ("Who?", "question", Anchor())
    assert (turn.start_ns, turn.end_ns) == (200 * MS, 700 * MS)
    assert turn.sha256 == audio.sha256(audio.load(turn.audio).samples, RATE)


def test_all_but_the_audio_may_be_left_out(folder):
    first, second = scenarios(manifest(folder, {"audio": "a.wav"}, "", {"audio": "b.wav", "text": None, "dur": 0.8}))
    assert (first.id, second.id) == ("a", "b")
    assert first.turns[0].text is None
    assert first.expect.answers == ()


def test_other_names_of_keys_are_understood(folder):
    line = {"id": 7, "audio": "a.wav", "question": "Who?", "answer": "Me", "choices": ["Me", "You"]}
    (found,) = scenarios(manifest(folder, line))
    assert (found.id, found.turns[0].text) == ("7", "Who?")
    assert (found.expect.answers, found.expect.choices) == (("Me",), ("Me", "You"))


def test_given_bounds_win_over_measured_ones(folder):
    (found,) = scenarios(manifest(folder, {"audio": "a.wav", "start_s": 0.1, "end_s": 0.65}))
    assert (found.turns[0].start_ns, found.turns[0].end_ns) == (100 * MS, 650 * MS)


def test_a_conversation_has_turns_with_anchors(folder):
    turns = [
        {"audio": "a.wav", "text": "Who?"},
        {"audio": "b.wav", "role": "backchannel", "anchor": {"event": "reply_audible", "delay_s": 1.2}},
        {"audio": "a.wav"},
    ]
    (found,) = scenarios(manifest(folder, {"id": "talk", "turns": turns, "family": "backchannel"}))
    assert [turn.anchor for turn in found.turns] == [
        Anchor("start", 500 * MS),
        Anchor("reply_audible", 1200 * MS),
        Anchor("reply_end", 1000 * MS),
    ]
    assert [turn.role for turn in found.turns] == ["question", "backchannel", "question"]
    assert found.expect.family == "backchannel"


def test_a_folder_of_audio_is_a_manifest_with_texts_beside(folder):
    (folder / "b.txt").write_text("Who are you?\n")
    (folder / "deep").mkdir()
    soundfile.write(folder / "deep" / "c.flac", sound(), 44_100)
    found = scenarios(f"manifest:{folder}")
    assert [(s.id, s.turns[0].text) for s in found] == [("a", None), ("b", "Who are you?"), ("deep/c", None)]


def test_a_manifest_can_be_named_by_its_file(folder):
    manifest(folder, {"audio": "a.wav"})
    assert scenarios(f"manifest:{folder}/manifest.jsonl") == scenarios(f"manifest:{folder}")


def test_a_manifest_can_be_shuffled_by_the_seed(folder):
    suite = manifest(folder, *({"id": str(i), "audio": "a.wav"} for i in range(8)))
    orders = {tuple(s.id for s in scenarios(suite, seed=seed, shuffle=True)) for seed in (0, 0, 1)}
    assert len(orders) == 2
    assert [s.id for s in scenarios(suite)] == list("01234567")


def long_wave(path):
    """The header of a three-hour file on a sparse file."""
    size = 3 * 3600 * RATE * 2
    header = (
        b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, RATE * 2, 2, 16)
    )
    with path.open("wb") as file:
        file.write(header + b"data" + struct.pack("<I", size))
        file.truncate(44 + size)


@pytest.fixture
def bad(folder):
    """The folder with bad audio in it too."""
    soundfile.write(folder / "empty.wav", np.zeros(0, np.float32), RATE)
    soundfile.write(folder / "nan.wav", sound() * np.nan, RATE, subtype="FLOAT")
    (folder / "text.wav").write_text("no audio")
    long_wave(folder / "long.wav")
    return folder


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"audio": "a.wav"', r"manifest\.jsonl:2: not JSON: Expecting ',' delimiter"),
        ('["a.wav"]', r"manifest\.jsonl:2: must be a JSON object, not \[\"a.wav\"\]"),
        ({"text": "Who?"}, "manifest.jsonl:2: has no 'audio'"),
        ({"audio": "gone.wav"}, r"manifest\.jsonl:2: audio file .*gone\.wav does not exist"),
        ({"audio": "empty.wav"}, "empty.wav is empty"),
        ({"audio": "nan.wav"}, "nan.wav contains values that are not finite"),
        ({"audio": "text.wav"}, "text.wav cannot be read"),
        ({"audio": "long.wav"}, "long.wav lasts 10800 s, more than 600 s"),
        ({"audio": 3}, "'audio' must be str, not 3"),
        ({"audio": "b.wav", "anwsers": ["x"]}, "unknown key 'anwsers', did you mean 'answers'"),
        ({"audio": "b.wav", "answers": {"a": 1}}, "'answers' must be str or list"),
        ({"audio": "b.wav", "role": "interupt"}, "unknown role 'interupt', did you mean 'interrupt'"),
        ({"audio": "b.wav", "start_s": "0.1"}, "'start_s' must be int or float"),
        ({"audio": "b.wav", "end_s": 2}, r"speech from 0 to 2 s is not within b\.wav \(0\.8 s\)"),
        ({"audio": "b.wav", "start_s": 0.6, "end_s": 0.5}, "speech from 0.6 to 0.5 s"),
        ({"audio": "b.wav", "id": "a"}, "id 'a' is already used by manifest.jsonl:1"),
        ({"audio": "b.wav", "id": "half \ud800"}, "2: contains a lone surrogate"),
        ({"audio": "b.wav", "text": "half \udfff"}, "2: contains a lone surrogate"),
        ({"turns": []}, "'turns' is empty"),
        ({"turns": ["b.wav"]}, "turn 0 must be a JSON object"),
        ({"turns": [{"audio": "b.wav", "anchor": {"event": "now"}}]}, "unknown anchor event 'now'"),
        ({"turns": [{"audio": "b.wav", "anchor": {"delay_s": -1}}]}, "delay_s must be seconds of at least 0"),
        (
            {"audio": "b.wav", "anchor": {"event": "reply_end"}},
            "'reply_end' refers to an earlier turn, and this is the first",
        ),
        ({"audio": "b.wav", "patience_s": 0}, "patience_s must be seconds above 0, not 0"),
    ],
)
def test_a_bad_line_is_told_up_front_or_skipped(bad, capsys, line, message):
    suite = manifest(bad, {"audio": "a.wav"}, line)
    with pytest.raises(FobenchError, match=message) as error:
        create(suite)
    assert "skip_bad=true" in str(error.value)
    assert [s.id for s in scenarios(suite, skip_bad=True)] == ["a"]
    assert "skipped 1 of 2" in capsys.readouterr().err


def test_all_problems_are_listed_up_to_ten(folder):
    with pytest.raises(FobenchError, match="13 problems") as error:
        create(manifest(folder, *({"id": str(i), "audio": "gone.wav"} for i in range(13))))
    assert "manifest.jsonl:10:" in str(error.value)
    assert "manifest.jsonl:11:" not in str(error.value)
    assert "... and 3 more" in str(error.value)


def test_what_the_header_did_not_tell_is_told_with_its_line(folder, capsys):
    soundfile.write(folder / "cut.flac", np.random.default_rng(0).uniform(-0.5, 0.5, RATE), RATE)
    content = (folder / "cut.flac").read_bytes()
    (folder / "cut.flac").write_bytes(content[: len(content) // 2] + bytes(64))
    suite = manifest(folder, {"audio": "cut.flac"}, {"audio": "a.wav"})
    with pytest.raises(FobenchError, match=r"manifest\.jsonl:1: .*cut\.flac"):
        scenarios(suite)
    assert [s.id for s in scenarios(suite, skip_bad=True)] == ["a"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nowhere", "does not exist"),
        (
            lambda folder: (folder / "hollow").mkdir() or folder / "hollow",
            "contains no manifest.jsonl and no audio file",
        ),
        (
            lambda folder: (folder / "x.jsonl").touch() or folder / "x.jsonl",
            r"^Manifest .*x\.jsonl is empty: it needs a line",
        ),
        (lambda folder: (folder / "manifest.jsonl").touch() or folder, r"^Manifest .*manifest\.jsonl is empty"),
        (lambda folder: (folder / "x.jsonl").write_bytes(b'{"a": "\xff"}') and folder / "x.jsonl", "is not UTF-8"),
    ],
)
def test_nothing_to_read_is_told(tmp_path, make, message):
    with pytest.raises(FobenchError, match=message):
        create(f"manifest:{make(tmp_path)}")
