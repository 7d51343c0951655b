"""Answer matching: whether a reply contains a correct answer. Multiple choice: `choice_parsing`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fobench.scoring.english.words import SHARP
from fobench.scoring.text_normalization import MONTH, normalize, unify_dates

ARTICLES = ("a ", "an ", "the ")
O_CLOCK = " oclock"
MANY_DIGITS = 7  # from so many on, e.g. in a telephone number, it does not matter how the digits are grouped


def contains(reply: str, answers: Iterable[str]) -> bool:
    """Whether the normalized reply contains a normalized answer as whole words and whole numbers.

    The answer 5 is in "five dollars", but not in -5, 5.5, 1/5, 5th or 55. Digits said one by one are one number ("nine one one")
    and, for an answer of several numbers, also several ("1, 2, 3"). A day of a month may be written in any order ("4 July", "July 4th").

    The containment match of spoken QA on TriviaQA and Web Questions. As in TriviaQA's scorer, an answer's leading article
    is ignored. An answer that is empty after normalization never matches. It is a match of words, not of meaning: "it is not
    Paris" contains Paris.
    """
    return any(_contains_answer(reply, answer) for answer in answers)


def normalize_answer(answer: str, *, rows: bool = False) -> str:
    """The normalized answer without its leading article, unless it is only an article. `rows`: as in `normalize`."""
    normal = normalize(answer, rows=rows)
    return next((normal.removeprefix(article) for article in ARTICLES if normal.startswith(article)), normal)


def _contains_answer(reply: str, answer: str) -> bool:
    in_a_row = normalize_answer(answer, rows=True).removesuffix(O_CLOCK)
    apart = normalize_answer(answer).removesuffix(O_CLOCK)
    if not in_a_row:
        return False
    if len(in_a_row) == 1:
        reply = SHARP.sub("", normalize(reply))
    words = f" {normalize(reply, rows=True)} "
    if f" {in_a_row} " in words or (" " in apart and f" {apart} " in f" {normalize(reply)} "):
        return True
    if MONTH.search(apart) and f" {unify_dates(apart)} " in f" {unify_dates(normalize(reply))} ":
        return True
    numbers = apart.split()
    is_row = all(map(str.isdecimal, numbers)) and sum(map(len, numbers)) >= MANY_DIGITS
    return is_row and _contains_digits(words.split(), "".join(numbers))


def _contains_digits(words: Sequence[str], digits: str) -> bool:
    """Whether consecutive numbers among the words have these digits."""
    for begin in range(len(words)):
        rest = digits
        for word in words[begin:]:
            if not word.isdecimal() or not rest.startswith(word):
                break
            rest = rest.removeprefix(word)
            if not rest:
                return True
    return False
