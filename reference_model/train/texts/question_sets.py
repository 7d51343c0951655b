"""Sentences from text question sets: their questions, and short statements made of their answers.

The folder has one subfolder per set (any may be absent): web_questions, nq_open, disfl_qa, gsm8k, arc-easy, openbookqa,
slurp_text, ifeval, each with .jsonl files.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fobench.errors import FobenchError
from fobench.outside_files import parse_json, read_lines
from reference_model.train.texts import word_lists
from reference_model.train.texts.sentence_casing import capitals, sentence, verbalize

ASKING = (
    *("what", "who", "whom", "whose", "where", "when", "which", "why", "how", "is", "are", "was", "were", "do", "does"),
    *("did", "can", "could", "will", "would", "should", "has", "have", "had", "am", "may"),
)
CHOICE = re.compile(r"Answer\d: (.*?)(?= Answer\d:|$)")
REPLIES = (
    "The answer is {a}.",
    "It is {a}.",
    "That would be {a}.",
    "I believe it is {a}.",
    "I think the answer is {a}.",
    "It was {a}.",
    "{a}, as far as I know.",
    "As far as I know, it is {a}.",
    "You are looking for {a}.",
    "That is {a}.",
    "Most people would say {a}.",
    "It should be {a}.",
)
MENTIONS = (
    "Tell me about {a}.",
    "What do you know about {a}?",
    "Have you heard of {a}?",
    "Can you tell me more about {a}?",
    "I was reading about {a}.",
    "How do you spell {a}?",
    "Why is {a} so famous?",
    "I would like to learn about {a}.",
    "Could you explain {a} to me?",
    "We talked about {a} yesterday.",
)
STATEMENT_RULES = (  # question -> statement; {a} is the answer
    (r"who (is|was|are|were) (.+)", "{a} {0} {1}"),
    (r"who (won|wrote|sings|sang|plays|played|invented|discovered|founded|directed|painted|built) (.+)", "{a} {0} {1}"),
    (r"where (is|was|are|were) (.+?) (located|born|buried|held|filmed|from)\b(.*)", "{1} {0} {2}{3} in {a}"),
    (r"where (is|are) (\S+ ?\S*)", "{1} {0} in {a}"),
    (r"what (is|was|are|were) (the .+)", "{1} {0} {a}"),
    (r"when (is|was) (the .+|\S+ \S+) (born|founded|built|released|made|invented|signed|held)", "{1} {0} {2} in {a}"),
    (r"how many (.+) (are|were) (in .+)", "there {1} {a} {0} {2}"),
)


@dataclass(frozen=True, slots=True)
class FoundSentence:
    """A sentence and its source. `kind`: question, command, talk, statement, backchannel, interruption or prose."""

    text: str
    kind: str
    source: str


def read(folder: Path, seed: int) -> list[FoundSentence]:
    """Reads all sentences of the sets in `folder`, verbalized and capitalized.

    Raises FobenchError if there is no set.
    """
    names = {word: form for word, form in _capitalized_names(folder).items() if word not in word_lists.COMMON}
    found = [
        FoundSentence(sentence(verbalize(f.text), names, "?" if f.kind == "question" else "."), f.kind, f.source)
        for name, reader in READERS.items()
        for f in reader(_records(folder / name), name, random.Random(f"{seed} {name}"))
    ]
    if not found:
        raise FobenchError(f"{folder} contains none of the question sets {', '.join(READERS)}.")
    return found


def entities(folder: Path) -> list[str]:
    """Returns the distinct answers of one to four words of the open-domain sets, sorted: names, places, dates and
    things."""
    answers = {a.strip() for a in _answers(folder) if 1 <= len(a.split()) <= 4 and not re.search(r"[/()#:\"]", a)}
    return sorted(a for a in answers if len(a) > 2)


def _capitalized_names(folder: Path) -> dict[str, str]:
    """Returns {lower-case form: capitalized form}: words mostly capitalized in the texts, multiword answers, and the
    word lists."""
    multiword = [a for a in entities(folder) if len(a.split()) > 1 and all(part[0].isupper() for part in a.split())]
    listed = (
        *word_lists.CITIES,
        *word_lists.COUNTRIES,
        *word_lists.LANGUAGES,
        *word_lists.DAYS,
        *word_lists.MONTHS,
        *word_lists.NAMES,
    )
    plain = (name.removeprefix("the ") for name in (*multiword, *listed))
    return capitals(_cased_texts(folder)) | {name.lower(): name for name in plain}


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    """Yields the lines of a set's files. FobenchError for one that lacks a key of the set, or whose value is not a text."""
    for path in sorted(folder.glob("*.jsonl")):
        try:
            lines = read_lines(path)
        except (OSError, ValueError) as error:
            raise FobenchError(f"{path} cannot be read: {error}.") from error
        for where, line in lines:
            try:
                record = parse_json(line)
                _check_record(record, TEXT_KEYS.get(folder.name, ()))
            except ValueError as error:
                raise FobenchError(f"{path.with_name(where)}: {error}.") from error
            yield record


def _check_record(record: Any, keys: Iterable[str]) -> None:
    """ValueError for what is no record with texts under `keys` and, if it has any, a list of texts as answers."""
    if not isinstance(record, dict):
        raise ValueError(f"it is not an object: {record!r:.60}")
    for key in keys:
        if not isinstance(record.get(key), str) or not record[key].strip():
            raise ValueError(f"{key!r} must be a text, not {record.get(key)!r:.60}")
    answers = record.get("answers", [])
    if not isinstance(answers, list) or any(isinstance(answer, list | dict) or answer is None for answer in answers):
        raise ValueError(f"'answers' must be a list of texts, not {answers!r:.60}")


def _answers(folder: Path) -> Iterator[str]:
    for name in ("web_questions", "nq_open"):
        for record in _records(folder / name):
            yield from map(str, record.get("answers", []))


def _cased_texts(folder: Path) -> Iterator[str]:
    for record in _records(folder / "disfl_qa"):
        yield record["original"]
    for name in ("gsm8k", "arc-easy"):
        for record in _records(folder / name):
            yield record.get("question", "") + " " + record.get("instruction", "").replace("Answer", "")
    for record in _records(folder / "ifeval"):
        yield record["prompt"]
    for answer in _answers(folder):
        if len(answer.split()) <= 4 and answer[:1].isupper():
            yield f"x {answer}"  # its first word counts too


def _open(records: Iterable[dict[str, Any]], source: str, rng: random.Random) -> Iterator[FoundSentence]:
    for record in records:
        question = record["question"]
        yield FoundSentence(question, "question", source)
        answers = [a for a in map(str, record.get("answers", [])) if 0 < len(a.split()) <= 6 and "/" not in a]
        if answers:
            yield FoundSentence(rng.choice(REPLIES).format(a=answers[0]), "statement", source)
            if statement := _to_statement(question, answers[0]):
                yield FoundSentence(statement, "statement", source)


def _to_statement(question: str, answer: str) -> str:
    """Rewrites a question and its answer as a statement; empty if no rule matches."""
    plain = question.lower().rstrip(" ?.")
    for pattern, template in STATEMENT_RULES:
        if match := re.fullmatch(pattern, plain):
            return template.format(*match.groups(), a=answer)
    return ""


def _disfluent(records: Iterable[dict[str, Any]], source: str, rng: random.Random) -> Iterator[FoundSentence]:
    for record in records:
        yield FoundSentence(record["original"], "question", source)
        yield FoundSentence(record["disfluent"], "question", source)


def _math_problems(records: Iterable[dict[str, Any]], source: str, rng: random.Random) -> Iterator[FoundSentence]:
    for record in records:
        yield from _sentences(record["question"], source)
        answer = re.sub(r"<<.*?>>", "", record["answer"].split("####")[0])
        for line in answer.split("\n"):
            yield FoundSentence(re.sub(r"(?<=\d)\s*[*x]\s*(?=[\d$])", " times ", _minus(line)), "statement", source)


def _minus(line: str) -> str:
    line = re.sub(r"(?<=\d)\s*/\s*(?=[\d$])", " divided by ", line)
    return re.sub(r"(?<=\d)\s*-\s*(?=[\d$])", " minus ", line)


def _choices(records: Iterable[dict[str, Any]], source: str, rng: random.Random) -> Iterator[FoundSentence]:
    for record in records:
        question, _, rest = record["instruction"].partition("\n\n")
        question = question.removeprefix("Please choose the correct answer to the question:").strip()
        options = CHOICE.findall(rest.partition("\n")[0])
        if question.endswith("?"):
            yield from _sentences(question, source)
        else:
            number = re.fullmatch(r"(?:answer)?(\d{1,3})", record["answer"].strip(), re.IGNORECASE)
            correct = int(number[1]) - 1 if number else -1
            yield FoundSentence(
                f"{question} {options[correct]}" if 0 <= correct < len(options) else question, "statement", source
            )
        for option in options:
            if len(option.split()) >= 4:
                yield FoundSentence(option, "statement", source)


def _sentences(text: str, source: str) -> Iterator[FoundSentence]:
    for part in re.split(r"(?<!\bMr\.)(?<!\bMrs\.)(?<!\bDr\.)(?<!\bMs\.)(?<=[.?!])\s+", " ".join(text.split())):
        yield FoundSentence(part, "question" if part.endswith("?") else "statement", source)


def _commands(records: Iterable[dict[str, Any]], source: str, rng: random.Random) -> Iterator[FoundSentence]:
    for record in records:
        text = record["sentence"]
        asks = text.lower().split(" ")[0] in ASKING
        yield FoundSentence(text, "question" if asks else "command", source)


def _instructions(records: Iterable[dict[str, Any]], source: str, rng: random.Random) -> Iterator[FoundSentence]:
    for record in records:
        if "\n" not in record["prompt"] and '"' not in record["prompt"]:
            first = re.split(r"(?<=[.?!])\s+", record["prompt"])[0]
            yield FoundSentence(first, "question" if first.endswith("?") else "command", source)


TEXT_KEYS: dict[str, tuple[str, ...]] = {  # keys that every line of a set must have
    "web_questions": ("question",),
    "nq_open": ("question",),
    "disfl_qa": ("original", "disfluent"),
    "gsm8k": ("question", "answer"),
    "arc-easy": ("instruction", "answer"),
    "openbookqa": ("instruction", "answer"),
    "slurp_text": ("sentence",),
    "ifeval": ("prompt",),
}
Reader = Callable[[Iterable[dict[str, Any]], str, random.Random], Iterator[FoundSentence]]
READERS: dict[str, Reader] = {
    "web_questions": _open,
    "nq_open": _open,
    "disfl_qa": _disfluent,
    "gsm8k": _math_problems,
    "arc-easy": _choices,
    "openbookqa": _choices,
    "slurp_text": _commands,
    "ifeval": _instructions,
}
