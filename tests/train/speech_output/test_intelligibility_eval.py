"""Intelligibility evaluation: texts, recognition, and error counts."""

import json

import pytest
from click.testing import CliRunner

from fobench.errors import FobenchError
from reference_model.checkpoint import loading
from reference_model.train.speech_output import intelligibility_eval
from reference_model.train.speech_output.batch_synthesis import SynthesisLine
from tests.support.beep_voice import Beeps, Reader
from tests.support.tiny_models import folder


def write(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_a_list_is_no_text_and_a_unicode_line_separator_no_line(tmp_path):
    with pytest.raises(FobenchError, match=r"cannot be read as texts: \['one', 'two'\] is not a text"):
        intelligibility_eval.read(write(tmp_path / "texts", {"text": ["one", "two"]}), "valid", 4)
    (tmp_path / "lines").write_text("One\u2028and\x85two.\r\nThree.\n", encoding="utf-8-sig")
    found = intelligibility_eval.read(tmp_path / "lines", "valid", 4)
    assert [line.text for line in found] == ["One\u2028and\x85two.", "Three."]


def test_texts_replies_and_plain_lines_are_read(tmp_path):
    rows = [
        {"text": "One.", "split": "valid"},
        {"text": "Not this.", "split": "train"},
        {"question": "Who?", "reply": "Two."},
        "Three.",
        "...",
        "4",
        "Five.",
    ]
    found = intelligibility_eval.read(write(tmp_path / "texts", *rows), "valid", 4)
    assert found == [SynthesisLine("One."), SynthesisLine("Two.", "Who?"), SynthesisLine("Three."), SynthesisLine("4")]


def test_a_file_without_texts_is_refused(tmp_path):
    with pytest.raises(FobenchError, match=r"holds no text to synthesize \(split valid\)"):
        intelligibility_eval.read(write(tmp_path / "texts", {"text": "x", "split": "train"}, "?!"), "valid", 4)
    with pytest.raises(FobenchError, match="cannot be read as texts"):
        intelligibility_eval.read(tmp_path / "none", "valid", 4)


def test_errors_are_counted_over_normal_forms():
    wrong, sizes = intelligibility_eval.rates(["It's 3 foxes.", "a b"], ["it is three boxes", ""], "words")
    assert (wrong, sizes) == ([1, 2], [4, 2])
    wrong, sizes = intelligibility_eval.rates(["ab cd"], ["ab cx"], "chars")
    assert (wrong, sizes) == ([1], [5])


@pytest.fixture
def spoken(tmp_path, registered):
    """The command on random weights, with a voice of beeps and a recognizer that reads them."""
    registered(voices=Beeps(), recognizers=Reader())
    model = tmp_path / "model.safetensors"
    loading.save(loading.untrained("tiny"), model, storage=None)
    reply = {"question": "who", "reply": "the lazy dog. it sleeps. "}
    texts = write(tmp_path / "texts", {"text": "hello big world"}, reply, {"text": "***"})

    def run(*options):
        given = [
            "--model",
            model,
            "--texts",
            texts,
            "--voice",
            "toy",
            "--recognizer",
            "toy",
            "--out",
            tmp_path / "out.json",
        ]
        done = CliRunner().invoke(
            intelligibility_eval.main, [*map(str, given), "--backbone", f"hf:{folder('qwen2')}", *options]
        )
        return done, json.loads((tmp_path / "out.json").read_text()) if (tmp_path / "out.json").exists() else []

    return run


@pytest.mark.slow
def test_the_voice_is_understood_and_random_weights_are_not(spoken):
    done, found = spoken("--top-k", "1", "--top-k", "2")
    assert done.exit_code == 0, done.output
    assert [one["name"] for one in found] == ["top-k 1", "top-k 2", "toy", "toy by codec"]
    assert found[2]["wer"] == found[2]["cer"] == 0
    assert found[2]["heard"] == ["hello big world", "the lazy dog it sleeps"]
    assert found[2]["speech_s"] == pytest.approx(
        0.05 * sum(map(len, ("hello big world", "the lazy dog.", "it sleeps.")))
    )
    assert all(one["wer"] > 0.5 for one in found if one is not found[2])
    assert "2 texts in 3 segments" in done.output


def test_the_same_seed_is_heard_the_same(spoken):
    one, other = (spoken("--no-floors", "--top-k", "5")[1][0]["heard"] for _ in range(2))
    assert one == other
    assert spoken("--no-floors", "--top-k", "5", "--seed", "1")[1][0]["heard"] != one


def test_it_says_which_options_it_needs(tmp_path, registered):
    done = CliRunner().invoke(intelligibility_eval.main, ["--texts", str(write(tmp_path / "texts", "One."))])
    assert done.exit_code == 2
    assert "Give --model, or both --codec and --speech." in done.output
