"""Manifests: own recordings as scenarios, and bad lines told by file, line and reason."""

import json
import struct

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from fobench import audio
from fobench.api.scenario import Anchor
from fobench.api.types import NS_PER_MS
from fobench.cli.main import main
from fobench.errors import FobenchError
from tests.plugins.suites.suite_sounds import RATE, create, manifest, scenarios, sound, two_clips

MS = NS_PER_MS
pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def folder(tmp_path):
    return two_clips(tmp_path)


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
        ({"audio": "long.wav"}, "long.wav lasts 10800 s; a turn may last 600 s"),
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


@pytest.mark.parametrize(
    "samples",
    [np.zeros(8000), np.full(8000, 0.2), 1e-5 * sound().astype(float)],
    ids=["zeros", "constant offset", "-114 dBFS"],
)
def test_a_clip_in_which_nothing_can_be_heard_is_a_problem_unless_it_is_meant_to_be_silent(folder, samples):
    soundfile.write(folder / "mute.wav", samples.astype(np.float32), RATE, subtype="FLOAT")
    with pytest.raises(
        FobenchError, match=r"manifest\.jsonl:2: Nothing can be heard in audio file .*mute\.wav: its loudest"
    ):
        create(manifest(folder, {"audio": "a.wav"}, {"audio": "mute.wav", "text": "Who?"}))
    (found,) = scenarios(manifest(folder, {"audio": "mute.wav", "role": "noise"}))
    assert found.turns[0].role == "noise"


def test_a_cut_clip_is_a_problem(folder):
    content = (folder / "a.wav").read_bytes()
    (folder / "a.wav").write_bytes(content[: len(content) // 2])
    with pytest.raises(
        FobenchError, match=r"manifest\.jsonl:1: audio file .*a\.wav is cut: its header promises 0\.80 s"
    ):
        create(manifest(folder, {"audio": "a.wav"}))


def test_recordings_that_cannot_be_read_are_named(folder):
    for name in ("one.m4a", "deep/two.webm", "a.m4a", ".hidden.m4a", "notes.doc"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"\0")
    suite = create(f"manifest:{folder}")
    assert suite.notes == [
        "Left out, in a format that cannot be read: deep/two.webm, one.m4a. To use them, convert them, e.g. "
        "ffmpeg -i two.webm two.wav"
    ]
    for name in ("a.wav", "b.wav"):
        (folder / name).unlink()
    with pytest.raises(FobenchError, match=r"no audio file .* Left out, .*a\.m4a, deep/two\.webm, one\.m4a"):
        create(f"manifest:{folder}")


def test_what_was_skipped_is_a_note(folder):
    suite = create(manifest(folder, {"audio": "a.wav"}, {"audio": "gone.wav"}), skip_bad=True)
    assert "skipped 1 of 2" in suite.notes[0]
    assert "gone.wav does not exist" in suite.notes[0]


MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"  # the byte-order mark


def test_byte_order_marks_are_no_text(folder):
    (folder / "a.txt").write_text(f"{MARK}Who are you?\r\n", encoding="utf-8")
    assert [s.turns[0].text for s in scenarios(f"manifest:{folder}")] == ["Who are you?", None]
    path = folder / "x.toml"
    path.write_text(
        f'{MARK}version = 1\n[[scenario]]\nid = "a"\n[[scenario.turns]]\naudio = "a.wav"\n', encoding="utf-8"
    )
    assert [s.id for s in scenarios(f"manifest:{path}")] == ["a"]
    path = folder / "x.jsonl"
    path.write_text(
        MARK + json.dumps({"audio": "a.wav", "text": "a \u2028 b \x85 c"}, ensure_ascii=False), encoding="utf-8"
    )
    assert [s.turns[0].text for s in scenarios(f"manifest:{path}")] == ["a \u2028 b \x85 c"]


def test_a_text_in_another_encoding_is_a_problem_of_its_recording(folder):
    (folder / "a.txt").write_bytes("Où est la gare ?".encode("latin-1"))
    with pytest.raises(FobenchError, match=r"a\.wav: the text beside it, a\.txt, cannot be read: it is not UTF-8"):
        create(f"manifest:{folder}")


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


def test_other_formats_are_told(folder):
    (folder / "m.csv").write_text("audio,text\na.wav,Who?\n")
    with pytest.raises(FobenchError, match=r"m\.csv is no manifest: write JSON Lines"):
        create(f"manifest:{folder}/m.csv")
    with pytest.raises(FobenchError, match=r"a\.wav is a recording: give a manifest, or the folder"):
        create(f"manifest:{folder}/a.wav")


@pytest.mark.subprocess
def test_validate_takes_folders_and_names_its_own_options(folder):
    fine = CliRunner().invoke(main, ["validate", str(folder)])
    assert (fine.exit_code, "2 checked" in fine.output, "of more" in fine.output) == (0, True, False)
    manifest(folder, {"audio": "a.wav", "answers": [""]})
    broken = CliRunner().invoke(main, ["validate", str(folder / "manifest.jsonl")])
    assert broken.exit_code == 2
    assert "--args skip_bad=true" in broken.output
    assert "--suite-args" not in broken.output


def test_a_manifest_of_the_trainer_is_played_too(folder):
    """Its keys that a benchmark has no use for are noted."""
    line = {"audio": "a.wav", "text": "Who?", "kind": "question", "split": "valid", "source": "made", "id": "q"}
    suite = create(manifest(folder, line))
    assert [scenario.id for scenario in suite.scenarios(0)] == ["q"]
