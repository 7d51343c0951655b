"""Checks on the question set of the spoken_qa suite."""

import json
from collections import Counter
from pathlib import Path

import pytest
from whisper_normalizer.english import EnglishTextNormalizer

QUESTIONS = Path(__file__).parents[3] / "plugins/suites/spoken_qa/questions.jsonl"
SUBJECTS = [
    "geography", "animals", "space", "human_body",
    "chemistry_and_materials", "physics", "history", "literature",
    "arts_and_music", "food_and_plants", "everyday_life_and_sport", "numbers_and_language",
]  # fmt: skip
PER_SUBJECT = 20
normalise = EnglishTextNormalizer()


@pytest.fixture(scope="module")
def rows():
    return [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]


def test_counts_per_subject(rows):
    """The set holds twenty questions on each of the twelve subjects."""
    assert Counter(row["subject"] for row in rows) == dict.fromkeys(SUBJECTS, PER_SUBJECT)


def test_unique_ids_and_questions(rows):
    """No id and no normalised question occurs twice."""
    assert len({row["id"] for row in rows}) == len(rows)
    assert len({normalise(row["question"]) for row in rows}) == len(rows)


def test_every_question_has_the_same_keys_in_the_same_order(rows):
    """Every line has the same keys in the same order."""
    assert {tuple(row) for row in rows} == {("id", "subject", "question", "answers", "level")}


def test_round_robin_order(rows):
    """Lines run round-robin over the subjects, so that every prefix of the file is balanced."""
    expected = [f"{subject}-{n:02d}" for n in range(1, PER_SUBJECT + 1) for subject in SUBJECTS]
    assert [row["id"] for row in rows] == expected
    assert all(row["id"] == f"{row['subject']}-{row['id'][-2:]}" for row in rows)


def test_easy_before_medium(rows):
    """All easy questions come before the medium ones and make up about 60 % of the set."""
    levels = [row["level"] for row in rows]
    assert set(levels) == {"easy", "medium"} and levels == sorted(levels)
    assert 0.55 <= levels.count("easy") / len(levels) <= 0.65


def test_answer_not_in_question(rows):
    """Repeating the question never counts as a right reply."""
    for row in rows:
        question = f" {normalise(row['question'])} "
        assert not [a for a in row["answers"] if f" {normalise(a)} " in question], row["id"]


def test_aliases_usable(rows):
    """Every item has answers, none of them repeated, empty or a bare letter after normalisation."""
    for row in rows:
        answers = row["answers"]
        assert answers and len(set(answers)) == len(answers), row["id"]
        normalised = [normalise(a).strip() for a in answers]
        assert all(len(a) > 1 or a.isdigit() for a in normalised), row["id"]


def test_question_form(rows):
    """Every question has 5 to 14 words, no digits, plain ASCII text, and ends in a question mark."""
    assert QUESTIONS.read_bytes().isascii()
    for row in rows:
        question = row["question"]
        assert 5 <= len(question.split()) <= 14, row["id"]
        assert question.endswith("?") and not any(c.isdigit() for c in question), row["id"]
