"""Answer matching: whether a reply contains a correct answer, and which choice it selects."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence

from fobench.scoring.text_normalization import normalize

ARTICLES = ("a ", "an ", "the ")

# A label: a bracketed letter; or a letter that ends a clause; or a capital (in mid-sentence, the article "a" is lower case).
LABEL = r"(?:[(\[]\s*([A-Za-z])\s*[)\]]|([A-Za-z])(?=\s*(?:[.,;:!?)\]]|$))|([A-Z])(?=\s))"
BARE_LABEL = re.compile(r"^\W*([A-Za-z])\W*$")
LEADING_LABEL = re.compile(r"^\s*(?:[(\[]\s*([A-Za-z])\s*[)\]]|([A-Za-z])\s*[).:])(?=\s|$)")
NAMED_LABEL = re.compile(
    r"\b(?i:(?:answer|option|choice|letter)(?:\s+(?:is|would be|must be))?|choose|pick|select|go with|it is|it's)[:\s]\s*"
    rf"(?:(?i:option|choice|letter)\s+)?{LABEL}"
)


def contains(reply: str, answers: Iterable[str]) -> bool:
    """Whether the normalized reply contains a normalized answer as whole words.

    The containment match of spoken QA on TriviaQA and Web Questions. As in TriviaQA's scorer, an answer's leading article
    is ignored. An answer that is empty after normalization never matches.
    """
    words = f" {normalize(reply)} "
    return any(f" {answer} " in words for answer in map(normalize_answer, answers) if answer)


def normalize_answer(answer: str) -> str:
    """The normalized answer without its leading article, unless it is only an article."""
    normal = normalize(answer)
    return next((normal.removeprefix(article) for article in ARTICLES if normal.startswith(article)), normal)


def parse_choice(reply: str, choices: Sequence[str]) -> int | None:
    """The index of the choice that a reply selects; None if it selects none or more than one (`unparsed`).

    Rules in order: the reply is a label ("B", "(b)"); it begins with one ("B. Paris"); it names one ("the answer is C",
    "option C", "I pick C"); it contains the text of exactly one choice. A letter beyond the choices is not a label.
    """
    labels = _labels(reply, len(choices))
    if labels:
        return labels.pop() if len(labels) == 1 else None
    contained = [i for i, choice in enumerate(choices) if contains(reply, [choice])]
    longest = [i for i in contained if not any(_is_part_of(choices[i], choices[j]) for j in contained if j != i)]
    return longest[0] if len(longest) == 1 else None


def right_choices(answers: Sequence[str], choices: Sequence[str]) -> set[int]:
    """Indices of the correct choices: those whose text is an answer, else those whose label is an answer."""
    accepted = {normalize_answer(answer) for answer in answers}
    by_text = {i for i, choice in enumerate(choices) if normalize_answer(choice) in accepted}
    letters = {answer.strip().upper() for answer in answers}
    return by_text or {i for i in range(len(choices)) if label(i) in letters}


def label(index: int) -> str:
    """The label of a choice: A for the first; empty beyond 26."""
    return string.ascii_uppercase[index] if index < len(string.ascii_uppercase) else ""


def _labels(reply: str, count: int) -> set[int]:
    for pattern in (BARE_LABEL, LEADING_LABEL):
        found = _label_indices(pattern.findall(reply), count)
        if found:
            return found
    cased = reply if reply != reply.upper() else reply.lower()  # in an all-capitals reply, a capital is not a label
    return _label_indices(NAMED_LABEL.findall(cased), count)


def _label_indices(matches: Iterable[str | tuple[str, ...]], count: int) -> set[int]:
    letters = ("".join(match).upper() for match in matches)
    return {string.ascii_uppercase.index(letter) for letter in letters} & set(range(count))


def _is_part_of(part: str, whole: str) -> bool:
    return normalize_answer(part) != normalize_answer(whole) and contains(whole, [part])
