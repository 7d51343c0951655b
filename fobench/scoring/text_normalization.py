"""Text normalization for scoring: what two texts are compared by, independent of how they are written.

Two normalizers, each with a name and a version: `fobench-en-2` (`normalize`), by which answers are matched and error rates are counted,
and `whisper-en-1` (`normalize_as_whisper`), Whisper's own, by which published word error rates are counted.
"""

from __future__ import annotations

import re
from functools import lru_cache

from fobench.scoring.english.cardinals import digit_of
from fobench.scoring.english.numbers import canonical
from fobench.scoring.english.tokens import tokenize
from fobench.scoring.english.units import unify_units
from fobench.scoring.english.words import (
    NUMBER_SIGN,
    expand_contractions,
    join_initialisms,
    read_roman_numerals,
    unify_spelling,
    whisper_normalizer,
    whisper_spelling,
    whisper_words,
)
from fobench.scoring.unicode_text import basic_tokens, lower_plain, unify_forms

NORMALIZER = "fobench-en-2"
WHISPER_NORMALIZER = "whisper-en-1"
ENGLISH = "en"
CACHED_TEXTS = 8192  # several metrics normalize the same text; a reply is about 1 kB
# "[laughs]", "(softly)", "<unk>"; but "(555) 1234" and "(B)" are said.
REMARKS = re.compile(r"\[(?=[^\[\]]*\w\w)[^\[\]]*\]|\((?=[^()]*\w\w)[^()\d]*\)|</?[^\W\d][^<>]*>")
# A text of words with single marks between them.
PLAIN_WORDS = re.compile(r"(?:[a-z]+(?:[,;:?!]? |\. |-))*[a-z]+[,;:?!.]?")
WORD = re.compile(r"[a-z]+")
INTEGERS = re.compile(r"-?[0-9][0-9./]*(?:st|nd|rd|th|s)?")
# "10-15", "$5-$10", "5%-10%" are said with "to"; a telephone number (555-1234), a score (3-1) and a month (12-2024) are not.
RANGE = re.compile(
    r"(?<![\w.,/:$€£-])([$€£]?)([1-9][0-9]{0,2}(?:,[0-9]{3})+|[1-9][0-9]{0,3}(?:\.[0-9]+)?|0(?:\.[0-9]+)?)( ?(?:%|°[CF]?))?"
    r"( - |-)(?=([$€£]?)([1-9][0-9]{0,2}(?:,[0-9]{3})+|[1-9][0-9]{0,3}(?:\.[0-9]+)?)(?!-?[0-9]|-[A-Z]|[.,:/][0-9]))"
)
MONTH = re.compile(
    r"(?<!\S)(january|february|march|april|may|june|july|august|september|october|november|december)(?!\S)"
)
DAY = r"([0-9]{1,2})(?:st|nd|rd|th)?(?!\S)"
MONTH_FIRST = re.compile(rf"{MONTH.pattern} (?:the )?{DAY}")
DAY_FIRST = re.compile(rf"(?<!\S)(?:the )?{DAY} (?:of )?{MONTH.pattern}")
DAY_OF_MONTH = re.compile(rf"{MONTH.pattern} {DAY}")
DIGIT = re.compile(r"-|[0-9]|\.|st|nd|rd|th|s")
HALVES = ("0.5", "0.25", "0.75")  # said as one word or two


@lru_cache(maxsize=CACHED_TEXTS)
def normalize(text: str, language: str = ENGLISH, *, transcript: bool = False, rows: bool = False) -> str:
    """`text` as words and numbers separated by single spaces.

    English (`fobench-en-2`): lower case without punctuation, American spelling, contractions in full, one token per number
    (`fobench.scoring.english.numbers`), units in full. All that is said is kept but fillers and, in a `transcript` (the output of a
    speech recognizer), remarks in brackets. `rows`: as in `english.numbers.canonical`.

    Any other `language`: lower case without punctuation. In scripts without blanks between words (Chinese, Thai, ...) a token is one
    character, so that an error rate by words is one by characters there, in English texts as well.
    """
    if transcript:
        text = without_remarks(text)
    return _english(text, rows) if language == ENGLISH else " ".join(basic_tokens(text))


@lru_cache(maxsize=CACHED_TEXTS)
def _english(text: str, rows: bool) -> str:
    tokens = _english_tokens(text)
    if rows and not any(map(digit_of, tokens)):  # there is no row of digits
        return _english(text, False)
    return " ".join(map(unify_spelling, unify_units(canonical(tokens, rows))))


@lru_cache(maxsize=CACHED_TEXTS)
def _english_tokens(text: str) -> tuple[str, ...]:
    text = RANGE.sub(_read_range, NUMBER_SIGN.sub("number ", unify_forms(text)))
    text = lower_plain(read_roman_numerals(join_initialisms(text)))
    return tuple(tokenize(expand_contractions(text)))


@lru_cache(maxsize=CACHED_TEXTS)
def normalize_as_whisper(text: str) -> str:
    """`text` by Whisper's English normalizer (Radford et al. 2022, arXiv 2212.04356, appendix C), words separated by single spaces."""
    lower = text.lower()
    if PLAIN_WORDS.fullmatch(lower) and whisper_words().isdisjoint(words := WORD.findall(lower)):
        return " ".join(map(whisper_spelling, words))  # quickly: only punctuation and spelling change
    return " ".join(whisper_normalizer()(text).split())


def digits_apart(normal: str) -> list[str]:
    """The tokens of a normalized text for the alignment of an error rate, each digit a token.

    So "1984", "nineteen eighty four" and "one nine eight four" are alike, and one wrong digit is one error; so are "May 1" and "May 1st".
    """
    return [part for token in DAY_OF_MONTH.sub(r"\1 \2", normal).split() for part in _parts(token)]


def normalize_for_wer(text: str, language: str = ENGLISH, *, transcript: bool = False) -> str:
    """`text` as an error rate counts it: `normalize`, with each digit a token."""
    return " ".join(digits_apart(normalize(text, language, transcript=transcript)))


def without_remarks(transcript: str) -> str:
    """A recognizer's transcript without remarks in brackets, e.g. "[laughs]"."""
    return REMARKS.sub(" ", transcript)


def unify_dates(normal: str) -> str:
    """A normalized text with days of months in one form: "the 4th of july" and "july 4th" as "july 4"."""
    return MONTH_FIRST.sub(r"\1 \2", DAY_FIRST.sub(r"\2 \1", normal))


def _read_range(match: re.Match[str]) -> str:
    """ "10-" before "15" as "10 to "; as it stands if it is no range."""
    first, last = match[2].replace(",", ""), match[6].replace(",", "")
    is_telephone = (len(first), len(last)) == (3, 4) and "." not in f"{match[2]}{match[6]}"
    is_month = len(last) == 4 and last[:2] in ("19", "20") and float(first) <= 12 and "," not in match[6]
    is_difference = match[4] != "-" and (len(first), len(last)) != (4, 4)  # "10 - 15", not "1939 - 1945"
    if is_difference or (not match[3] and (float(first) >= float(last) or is_telephone or is_month)):
        return match[0]
    if match[1] and not match[5]:  # "$5-10" is said as "5 to 10 dollars"
        return f"{match[2]}{match[3] or ''} to {match[1]}"
    return f"{match[0].removesuffix(match[4])} to "


def _parts(token: str) -> list[str]:
    if token[0] not in "-0123456789" or not INTEGERS.fullmatch(token) or token.removeprefix("-") in HALVES:
        return [token]
    return [{"-": "minus", ".": "point"}.get(part, part) for part in DIGIT.findall(token)]
