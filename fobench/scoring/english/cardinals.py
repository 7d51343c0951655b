"""English cardinals and ordinals: the words of numbers, and their grammar."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Literal

ONE_WORDS = "zero one two three four five six seven eight nine"
TEEN_WORDS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
TEN_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
SCALE_WORDS = (
    "thousand million billion trillion quadrillion quintillion sextillion septillion octillion nonillion decillion"
)
ONES = {word: i for i, word in enumerate(ONE_WORDS.split())}
TEENS = {word: 10 + i for i, word in enumerate(TEEN_WORDS.split())}
TENS = {word: 20 + 10 * i for i, word in enumerate(TEN_WORDS.split())}
SIMPLE = {**ONES, **TEENS, **TENS}
SCALES = {word: 1000**i for i, word in enumerate(SCALE_WORDS.split(), 1)}
ZEROS = ("oh", "o")  # between digits
ARTICLES = ("a", "an")
IRREGULAR = {"first": "one", "second": "two", "third": "three", "fifth": "five", "eighth": "eight", "ninth": "nine"}
IRREGULAR |= {"twelfth": "twelve"}
ORDINALS = {f"{word}th": word for word in (*SIMPLE, *SCALES, "hundred")}
ORDINALS |= {f"{word[:-1]}ieth": word for word in TENS} | IRREGULAR
DECADES = {f"{word[:-1]}ies": value for word, value in TENS.items()} | {"hundreds": 0}
PARTS = {f"{word}s": SIMPLE[base] for word, base in ORDINALS.items() if SIMPLE.get(base, 0) > 2}
PARTS |= {"halves": 2, "quarters": 4, "hundredths": 100, "thousandths": 1000}
ONE_PART = {word.removesuffix("s"): value for word, value in PARTS.items() if value < 100} | {"half": 2}
DIGITS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
MOST_DIGITS = 400  # a longer row of digits stays as it is written


@dataclass(frozen=True, slots=True)
class Number:
    """A number that was read: its value, or its digits where leading zeros or grouping count.

    `form`: one digit or a number from 10 to 99 in words, which may join with others to a year or a time. `scale`: the thousand, million, ...
    that it ends in. `suffix`: of an ordinal, or "s" of a decade.
    """

    value: Fraction
    digits: str = ""
    form: Literal["digit", "pair", "other"] = "other"
    scale: int = 1
    suffix: Literal["", "th", "s"] = ""

    def __str__(self) -> str:
        """The canonical token: `42`, `1999`, `2.5`, `1/3`, `21st`, `1990s`."""
        if self.suffix == "th":
            return ordinal(int(self.value))
        return (self.digits or _decimal(self.value)) + self.suffix


Found = tuple[Number, int]  # a number, and the index of the token behind it
Group = tuple[int, int, bool]  # a value, the index of the token behind it, and whether it is an ordinal


def ordinal(value: int) -> str:
    """`1st`, `2nd`, `11th`, ..."""
    ending = "th" if value % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
    return f"{value}{ending}"


def _decimal(value: Fraction) -> str:
    """The value as a decimal number if it is finite, else as a fraction."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1:
        return f"{value.numerator}/{value.denominator}"
    context = Context(prec=len(str(value.numerator)) + 4 * len(str(value.denominator)) + 4)
    text = format(context.divide(Decimal(value.numerator), Decimal(value.denominator)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


# ---- The grammar of words


def read_cardinal(tokens: Sequence[str], at: int) -> Found | None:
    """A cardinal or ordinal in words, in digits, or in both ("5 thousand", "2 million 500 thousand", "5th")."""
    here, after = token_at(tokens, at), token_at(tokens, at + 1)
    if here in ARTICLES and (after == "hundred" or after in SCALES):
        found = read_words(["one", *tokens[at + 1 : at + 40]], 0)
        return (found[0], at + found[1]) if found else None
    if len(here) > MOST_DIGITS:
        return None
    if match := re.fullmatch(r"([0-9]+)(?:st|nd|rd|th)", here):
        return Number(Fraction(int(match[1])), suffix="th"), at + 1
    if here in DECADES and here != "hundreds":
        return Number(Fraction(DECADES[here]), str(DECADES[here]), suffix="s"), at + 1
    if DIGITS.fullmatch(here):
        if here.isdecimal() and (after == "hundred" or after in SCALES) and (found := read_words(tokens, at)):
            return found
        return from_digits(here), at + 1
    return read_words(tokens, at)


def from_digits(token: str) -> Number:
    return Number(Fraction(token), token if token.isdecimal() else "", "digit" if len(token) == 1 else "other")


def read_words(tokens: Sequence[str], at: int) -> Found | None:
    """A cardinal or ordinal by the grammar of English: "two hundred and five thousand and one", "twenty first"."""
    total, below, begin = 0, 10**40, at
    while True:
        skip = at > begin and token_at(tokens, at) == "and"
        group = _group(tokens, at + skip)
        if group is None or (total and (not group[0] or (skip and (group[0] > 99 or _is_part(tokens, group))))):
            break
        value, end, is_ordinal = group
        scale_word = token_at(tokens, end)
        scale = SCALES.get(ORDINALS.get(scale_word, scale_word), 0)
        if is_ordinal or not scale or not value:
            total, at = total + value, end
            if is_ordinal:
                return Number(Fraction(total), suffix="th"), at
            return _as_number(tokens, begin, at, total)
        if scale >= below:
            break
        total, below, at = total + value * scale, scale, end + 1
        if scale_word in ORDINALS:
            return Number(Fraction(total), suffix="th"), at
    if at == begin:
        return None
    return Number(Fraction(total), str(total), scale=below), at


def _as_number(tokens: Sequence[str], begin: int, end: int, value: int) -> Found:
    """The number of some words that do not end in a scale."""
    in_words = tokens[begin] in SIMPLE
    form: Literal["digit", "pair", "other"] = "other"
    if in_words and value < 100 and end - begin <= 2:
        form = "digit" if value < 10 else "pair"
    return Number(Fraction(value), str(value), form), end


def _group(tokens: Sequence[str], at: int) -> Group | None:
    """A number below 10,000 without a scale: "nineteen hundred and five"."""
    found = _below_hundred(tokens, at)
    if found is None:
        digits, after = token_at(tokens, at), token_at(tokens, at + 1)
        if not (digits.isdecimal() and digits.isascii() and len(digits) <= 3):
            return None
        if after != "hundred":
            return (int(digits), at + 1, False) if after in SCALES else None
        found = (int(digits), at + 1, False)
    value, end, is_ordinal = found
    word = token_at(tokens, end)
    if is_ordinal or not 0 < value < 100 or ORDINALS.get(word, word) != "hundred":
        return found
    value, end = value * 100, end + 1
    if word != "hundred":
        return value, end, True
    skip = token_at(tokens, end) == "and"
    rest = _below_hundred(tokens, end + skip)
    if rest and rest[0] and token_at(tokens, rest[1]) != "hundred" and not (skip and _is_part(tokens, rest)):
        return value + rest[0], rest[1], rest[2]
    return value, end, False


def _is_part(tokens: Sequence[str], above: Group) -> bool:
    """Whether a fraction has that numerator: "a hundred and two thirds"."""
    below = token_at(tokens, above[1])
    return below in PARTS or (above[0] == 1 and below in ONE_PART)


def _below_hundred(tokens: Sequence[str], at: int) -> Group | None:
    """A number below 100 in words."""
    word = token_at(tokens, at)
    base = ORDINALS.get(word, word)
    if base not in SIMPLE:
        return None
    ones = token_at(tokens, at + 1)
    ones_base = ORDINALS.get(ones, ones)
    if word in TENS and ONES.get(ones_base):
        return TENS[word] + ONES[ones_base], at + 2, ones in ORDINALS
    return SIMPLE[base], at + 1, word in ORDINALS


def read_small(tokens: Sequence[str], at: int) -> tuple[int, int]:
    """(value, index behind it) of a cardinal below 100 in words or digits; (0, at) of anything else."""
    if re.fullmatch("[0-9]{1,2}", token_at(tokens, at)):
        return int(tokens[at]), at + 1
    found = _below_hundred(tokens, at)
    return found[:2] if found and not found[2] else (0, at)


def digit_of(token: str) -> str:
    """The digit that a token is, in words or as a digit; else empty."""
    if token in ONES:
        return str(ONES[token])
    return token if len(token) == 1 and token.isascii() and token.isdecimal() else ""


def token_at(tokens: Sequence[str], at: int) -> str:
    return tokens[at] if 0 <= at < len(tokens) else ""
