"""The questions of `spoken-qa`: JSON Lines of {id, subject, question, answers, level}."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fobench.errors import FobenchError
from fobench.formatting import is_encodable
from fobench.outside_files import parse_json, read_lines
from fobench.scoring.choice_parsing import expectation_problem

BUILT_IN = Path(__file__).with_name("questions.jsonl")


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its accepted answers, the canonical one first."""

    id: str
    text: str
    answers: tuple[str, ...]
    subject: str = ""
    level: str = ""

    @property
    def text_sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def read_questions(path: Path = BUILT_IN) -> list[Question]:
    """The questions of a file; only `question` is required. Raises `FobenchError` that names the invalid line."""
    if not path.is_file():
        raise FobenchError(f"Questions file {path} does not exist.")
    found: dict[str, Question] = {}
    try:
        lines = read_lines(path)
    except (OSError, ValueError) as error:
        raise FobenchError(f"Questions file {path} cannot be read: {error}.") from error
    for where, line in lines:
        question = _question(line, where)
        if question.id in found:
            raise FobenchError(f"{where}: id {question.id!r} occurs twice.")
        found[question.id] = question
    if not found:
        raise FobenchError(f"{path} contains no question.")
    return list(found.values())


def _question(line: str, where: str) -> Question:
    try:
        data = parse_json(line)
        if not is_encodable(json.dumps(data, ensure_ascii=False)):
            raise ValueError("a lone surrogate (half a character, such as \\ud800)")
        text, answers = data["question"], data.get("answers", [])
        if not isinstance(text, str) or not text.strip():
            raise ValueError("'question' is empty")
        answers = [answers] if isinstance(answers, str) else list(answers)
        accepted = tuple(str(a) if isinstance(a, int | float) and not isinstance(a, bool) else a for a in answers)
        if problem := expectation_problem(accepted, ()):
            raise ValueError(problem)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FobenchError(f"{where}: not a question: {error}. Write {{'question': ..., 'answers': [...]}}.") from error
    name = str(data.get("id") or where.replace(":", "-"))
    return Question(name, text, accepted, str(data.get("subject", "")), str(data.get("level", "")))


def assign_speakers(questions: Sequence[Question], speakers: Sequence[str]) -> dict[str, str]:
    """{question id: speaker}, round robin with an offset per subject, so that every subject gets all speakers."""
    subjects: dict[str, int] = {}
    counts: defaultdict[str, int] = defaultdict(int)
    assigned: dict[str, str] = {}
    for question in questions:
        offset = subjects.setdefault(question.subject, len(subjects))
        assigned[question.id] = speakers[(offset + counts[question.subject]) % len(speakers)]
        counts[question.subject] += 1
    return assigned
