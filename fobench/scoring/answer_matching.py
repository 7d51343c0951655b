"""Answer matching: whether a reply contains a right answer, and which choice it names."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence

from fobench.scoring.text_normalization import normalise

ARTICLES = ("a ", "an ", "the ")

# A label: bracketed in either case; or a letter that ends a clause; or a capital, which an article cannot be in mid-sentence.
LABEL = r"(?:[(\[]\s*([A-Za-z])\s*[)\]]|([A-Za-z])(?=\s*(?:[.,;:!?)\]]|$))|([A-Z])(?=\s))"
BARE_LABEL = re.compile(r"^\W*([A-Za-z])\W*$")
LEADING_LABEL = re.compile(r"^\s*(?:[(\[]\s*([A-Za-z])\s*[)\]]|([A-Za-z])\s*[).:])(?=\s|$)")
NAMED_LABEL = re.compile(
    r"\b(?i:(?:answer|option|choice|letter)(?:\s+(?:is|would be|must be))?|choose|pick|select|go with|it is|it's)[:\s]\s*"
    rf"(?:(?i:option|choice|letter)\s+)?{LABEL}"
)


def contains(reply: str, answers: Iterable[str]) -> bool:
    """Whether any answer stands in the reply as whole words, both normalised.

    The containment match of spoken QA on TriviaQA and Web Questions. As in TriviaQA's own scorer an answer's leading
    article does not matter. An answer that normalises to nothing never matches.
    """
    words = f" {normalise(reply)} "
    return any(f" {answer} " in words for answer in map(bare, answers) if answer)


def bare(answer: str) -> str:
    """The normalised answer without its leading article, unless it is nothing but the article."""
    normal = normalise(answer)
    return next((normal.removeprefix(article) for article in ARTICLES if normal.startswith(article)), normal)


def parse_choice(reply: str, choices: Sequence[str]) -> int | None:
    """The index of the choice that a reply takes, or None where it takes none or more than one (`unparsed`).

    In order: the reply is a label ("B", "(b)"); it begins with one ("B. Paris"); it names one ("the answer is C", "option
    C", "I pick C"); it contains the text of one choice. A label beyond the choices is no label. No guessing.
    """
    labelled = _labels(reply, len(choices))
    if labelled:
        return labelled.pop() if len(labelled) == 1 else None
    voiced = [i for i, choice in enumerate(choices) if contains(reply, [choice])]
    widest = [i for i in voiced if not any(_inside(choices[i], choices[j]) for j in voiced if j != i)]
    return widest[0] if len(widest) == 1 else None


def right_choices(answers: Sequence[str], choices: Sequence[str]) -> set[int]:
    """Indices of the accepted choices: those an answer spells out, or else those whose label an answer is."""
    accepted = {bare(answer) for answer in answers}
    spelt = {i for i, choice in enumerate(choices) if bare(choice) in accepted}
    letters = {answer.strip().upper() for answer in answers}
    return spelt or {i for i in range(len(choices)) if label(i) in letters}


def label(index: int) -> str:
    """The label of a choice: A for the first. There are 26."""
    return string.ascii_uppercase[index] if index < len(string.ascii_uppercase) else ""


def _labels(reply: str, count: int) -> set[int]:
    for pattern in (BARE_LABEL, LEADING_LABEL):
        found = _indices(pattern.findall(reply), count)
        if found:
            return found
    cased = reply if reply != reply.upper() else reply.lower()  # all capitals say nothing about a single capital
    return _indices(NAMED_LABEL.findall(cased), count)


def _indices(matches: Iterable[str | tuple[str, ...]], count: int) -> set[int]:
    letters = ("".join(match).upper() for match in matches)
    return {string.ascii_uppercase.index(letter) for letter in letters} & set(range(count))


def _inside(part: str, whole: str) -> bool:
    return bare(part) != bare(whole) and contains(whole, [part])
