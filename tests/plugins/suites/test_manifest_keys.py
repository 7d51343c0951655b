"""Keys of a manifest: other words for them are understood, and what can never match, or resembles a key, is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.errors import FobenchError
from fobench_plugins.suites.manifest_keys import KEY_TYPES, SAME, similar_key
from tests.plugins.suites.suite_sounds import create, manifest, scenarios, two_clips

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def folder(tmp_path):
    return two_clips(tmp_path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"answers": None}, "2: 'answers' is null: leave the key out"),
        ({"answer": None}, "2: 'answer' is null"),
        ({"answers": []}, r"2: 'answers' is \[\]"),
        ({"answers": [None]}, "2: 'answers' must hold texts, not None"),
        ({"answers": [["4", "four"]]}, "2: 'answers' must hold texts, not"),
        ({"answers": [{"text": "4"}]}, "2: 'answers' must hold texts, not"),
        ({"answers": [True]}, "2: 'answers' must hold texts, not True"),
        ({"answer": 4}, "2: 'answer' must be str or list, not 4"),
        ({"answers": [""]}, "2: answers: '' has no words"),
        ({"answers": ["Paris", " ?! "]}, r"2: answers: ' \?! ' has no words"),
        (
            {"answers": ["Madrid"], "choices": ["Paris", "Rome"]},
            "2: answers: 'Madrid' is neither the label nor the text",
        ),
        ({"answers": ["C"], "choices": ["Paris", "Rome"]}, r"'C' is neither .*: A \(Paris\), B \(Rome\)"),
        ({"answers": ["A"], "choices": ["Paris", "paris."]}, "2: choices: 'paris.' is the same as 'Paris'"),
        ({"answers": ["A"], "choices": ["Paris", None]}, "2: 'choices' must hold texts, not None"),
        ({"choices": ["Paris", "Rome"]}, "2: choices: there are no answers"),
        ({"answers": ["A"], "choices": "Paris"}, "2: choices: a multiple-choice question needs two or more"),
        ({"tags": {"a": [1]}}, r"2: tag 'a' must be a text or a number, not \[1\]"),
    ],
)
def test_keys_that_can_never_match_are_told_with_line_and_key(folder, keys, message):
    with pytest.raises(FobenchError, match=message):
        create(manifest(folder, {"audio": "a.wav"}, {"audio": "b.wav", **keys}))


@pytest.mark.parametrize("key", ["audio", "path", "audio_filepath"])
def test_the_audio_may_be_named_as_in_other_manifests(folder, key):
    line = {key: "a.wav", "duration": 0.8, "text": "Who?"}
    turns = {"id": "talk", "turns": [line, line]}
    first, second = scenarios(manifest(folder, line, turns))
    assert (first.id, first.turns[0].audio) == ("a", str((folder / "a.wav").absolute()))
    assert [turn.text for turn in second.turns] == ["Who?", "Who?"]


KNOWN = (
    "answers",
    "choices",
    "family",
    "patience_s",
    "speaker",
    "start_s",
    "end_s",
    "level_db",
    "snr_db",
    "anchor",
    "tags",
)


@given(st.sampled_from(KNOWN), st.integers(0, 9), st.sampled_from(["swap", "double", "upper", "drop", "camel", "dash"]))
def test_a_misspelt_key_of_any_kind_is_told(key, at, how):
    at %= len(key) - 1
    written = {
        "swap": key[:at] + key[at + 1] + key[at] + key[at + 2 :],
        "double": key[:at] + key[at] + key[at:],
        "upper": key.capitalize(),
        "drop": key[:at] + key[at + 1 :],
        "camel": "".join(part.capitalize() for part in key.split("_")),
        "dash": key.replace("_", "-"),
    }[how]
    if written in KEY_TYPES:
        return
    same = next((keys for keys in SAME if key in keys), (key,))  # "anwers" has the letters of "answer"
    assert similar_key(written, tuple(KEY_TYPES)) in (*same, "end_s" if written.startswith("en") else key)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"audio": "a.wav", "Answers": ["x"]}, "unknown key 'Answers', did you mean 'answers'"),
        ({"audio": "a.wav", "transcript": "x"}, "unknown key 'transcript', did you mean 'text'"),
        ({"audio": "a.wav", "options": ["x", "y"]}, "unknown key 'options', did you mean 'choices'"),
        ({"audio_path": "a.wav"}, "unknown key 'audio_path', did you mean 'audio'"),
        ({"turns": [{"audio": "a.wav", "startS": 1}]}, "turn 0 unknown key 'startS', did you mean 'start_s'"),
        ({"turns": [{"audio": "a.wav", "answers": ["x"]}]}, "turn 0 'answers' belongs beside 'turns', not in a turn"),
        ({"turns": [{"audio": "a.wav"}], "text": "x"}, "'text' belongs in a turn, not beside 'turns'"),
        ({"audio": "a.wav", "anchor": {"delay": 1}}, "anchor has no 'delay'.* did you mean 'delay_s'"),
        ({"audio": "a.wav", "offset": 1.5}, "has an 'offset', but files are played from their beginning"),
        ('{"audio": "a.wav", "audio": "b.wav"}', "'audio' occurs twice"),
    ],
)
def test_unknown_keys_are_told_at_every_level(folder, line, message):
    with pytest.raises(FobenchError, match=message):
        create(manifest(folder, line))


def test_keys_without_a_meaning_are_noted(folder):
    lines = [{"audio": "a.wav", "text": "Who?", "transcript": "who", "room": 3}, {"audio": "b.wav", "room": 4, "_x": 1}]
    made = create(manifest(folder, *lines))
    assert made.notes == ["Keys of the manifest that are not used: 'room' (2 of 2), 'transcript' (1 of 2)."]


def test_ids_and_kinds_of_other_tools_resemble_no_key(folder):
    line = {"audio": "a.wav", "speaker_id": 7, "question_id": "q1", "answer_idx": 0, "idx": 3, "level": "easy"}
    made = create(manifest(folder, line))
    assert made.notes == [
        "Keys of the manifest that are not used: 'answer_idx' (1 of 1), 'idx' (1 of 1), 'level' (1 of 1), "
        "'question_id' (1 of 1), 'speaker_id' (1 of 1)."
    ]
    with pytest.raises(FobenchError, match="unknown key 'level', did you mean 'level_db'"):
        create(manifest(folder, {"audio": "a.wav", "level": -10}))
