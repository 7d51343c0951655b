import json
from pathlib import Path

import pytest

from fobench.errors import FobenchError
from fobench.scoring.text_normalization import normalize_as_whisper
from fobench_plugins.suites.spoken_qa.questions import read_questions
from reference_model.train.texts import question_sets, sentence_set, templates
from reference_model.train.texts.question_sets import FoundSentence

SETS = {
    "web_questions": [{"question": "who wrote the night wind?", "answers": ["Ann Lee"]}],
    "nq_open": [{"question": "where is lake bled", "answers": ["Slovenia", "Europe"]}],
    "disfl_qa": [{"original": "Who won?", "disfluent": "Who lost no sorry who won?"}],
    "gsm8k": [{"question": "Mr. Fox has 3 hens. How many hens is that?", "answer": "He has 3*2=<<3*2=6>>6 hens.\n#### 6"}],
    "arc-easy": [{"instruction": "Please choose the correct answer to the question: What melts ice?\n\nAnswer1: salt put on it Answer2: more ice\n\nAnswer format: answer1/answer2", "answer": "answer1"}],
    "slurp_text": [{"sentence": "turn the lamp off"}, {"sentence": "is it late"}],
    "ifeval": [{"prompt": "Write a poem. Use no commas."}],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, records in SETS.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "test.jsonl").write_text("\n".join(map(json.dumps, records)))
    return tmp_path


def test_every_set_gives_its_sentences(folder: Path) -> None:
    found = {one.text: one.kind for one in question_sets.read(folder, 0)}
    assert {
        "Who wrote the night wind?": "question",
        "Ann Lee wrote the night wind.": "statement",
        "Lake bled is in Slovenia.": "statement",
        "Who lost no sorry who won?": "question",
        "Mr. Fox has three hens.": "statement",
        "He has three times two equals six hens.": "statement",
        "What melts ice?": "question",
        "Salt put on it.": "statement",
        "Turn the lamp off.": "command",
        "Is it late?": "question",
        "Write a poem.": "command",
    }.items() <= found.items()


def test_texts_are_the_same_at_every_call_and_keep_their_ids(folder: Path) -> None:
    first, again, other = (sentence_set.collect(folder, template_sentences=200, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    ids = {text.text: (text.id, text.split) for text in other}
    assert all(ids[text.text] == (text.id, text.split) for text in first if text.text in ids)


def test_thousands_of_made_texts_differ_and_both_splits_get_some() -> None:
    found = sentence_set.distinct(templates.fill_templates(4000, ["Ann Lee", "Lake Bled"], 0))
    assert len(found) > 3000 and len({text.id for text in found}) == len(found)
    assert 0.02 < sum(text.split == "valid" for text in found) / len(found) < 0.06
    assert {text.kind for text in found} == {"question", "command", "talk", "statement", *sentence_set.SHORT}


def test_no_slot_is_left_open() -> None:
    assert not [f.text for f in templates.fill_templates(3000, ["Ann Lee"], 0) if "{" in f.text or "  " in f.text]


def test_the_benchmarks_questions_are_never_used() -> None:
    asked = [FoundSentence(question.text.upper().rstrip("?"), "question", "x") for question in read_questions()]
    assert sentence_set.distinct(asked) == []


def test_repeats_and_texts_of_wrong_length_are_dropped() -> None:
    said = ["It is late.", "It's late!", "Late.", "very " * 21 + "late."]
    found = [*(FoundSentence(text, "statement", "x") for text in said), FoundSentence("Mm-hmm.", "backchannel", "x")]
    assert [text.text for text in sentence_set.distinct(found)] == ["It is late.", "Mm-hmm."]
    assert normalize_as_whisper("It's late!") == normalize_as_whisper("It is late.")


def test_written_sentences_come_after_all_others(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "written.jsonl"
    said = ["Is it late?", "Gulls nap.", "Gulls never nap."]
    file.write_text("".join(json.dumps({"text": text, "kind": "talk", "topic": "x"}) + "\n" for text in said))
    without, found = (
        sentence_set.collect(folder, template_sentences=50),
        sentence_set.collect(folder, template_sentences=50, file=file),
    )
    assert found[: len(without)] == without
    assert [(text.text, text.source) for text in found[len(without) :]] == [
        (text, sentence_set.WRITTEN) for text in said[1:]
    ]


@pytest.mark.parametrize("content", [None, "{", "[1]", '{"kind": "talk"}', '{"text": 5, "kind": "talk"}', "\xff"])
def test_a_file_without_written_sentences_is_refused(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / "written.jsonl").write_text(content, encoding="latin-1")
    with pytest.raises(
        FobenchError, match=r"written.jsonl is not a file of LLM-written sentences .*llm_sentences --out"
    ):
        sentence_set.read_llm_sentences(tmp_path / "written.jsonl")


def test_texts_without_a_word_are_left_out() -> None:
    odd = ["? !", "... ...", "- -", "", " ", "100 %", "a\x00b c", "😀 😀", "word"]
    assert sentence_set.distinct(
        [FoundSentence(text, "talk", "x") for text in [*odd, "Two words."]]
    ) == sentence_set.distinct([FoundSentence("Two words.", "talk", "x")])


def test_a_folder_without_question_sets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FobenchError, match="contains none of the question sets web_questions"):
        sentence_set.collect(tmp_path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            '{"question": ["who?", "and then?"], "answers": ["x"]}',
            r"'question' must be a text, not \['who\?', 'and then\?'\]",
        ),
        ('{"answers": ["x"]}', "'question' must be a text, not None"),
        ('{"question": "who?", "answers": "x"}', "'answers' must be a list of texts, not 'x'"),
        ('{"question": "who?", "answers": [["x"]]}', r"'answers' must be a list of texts, not \[\['x'\]\]"),
        ('["who?"]', "it is not an object"),
    ],
)
def test_a_record_without_its_texts_is_named(folder: Path, line: str, reason: str) -> None:
    (folder / "nq_open" / "test.jsonl").write_text(line + "\n")
    with pytest.raises(FobenchError, match=rf"test\.jsonl:1: {reason}"):
        sentence_set.collect(folder)


def test_unicode_line_separators_and_byte_order_marks_are_no_lines(folder: Path) -> None:
    line = '{"question": "who wrote the\u2028second long\u0085book of songs", "answers": ["Ann Smith"]}\n'
    (folder / "nq_open" / "test.jsonl").write_text(line, encoding="utf-8-sig")
    assert any("second long book of songs" in found.text for found in sentence_set.collect(folder))


def test_a_line_that_is_no_json_is_named(folder: Path) -> None:
    (folder / "nq_open" / "test.jsonl").write_text("{\n")
    with pytest.raises(FobenchError, match=r"test.jsonl:1: it is not JSON"):
        sentence_set.collect(folder)
