"""English numbers: words and digits as one canonical token per number, without joining neighbors that are said apart.

`canonical` reads words, digits and signs: "forty two" and "42" are `42`, "minus five" is `-5`, "two and a half" is `2.5`, "first" is
`1st`, "nineteen ninety nine" is `1999`, "$5" is `5 dollar`. `BREAK` (punctuation between two tokens) keeps neighbors apart: "one, two"
stays `1 2`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from fobench.scoring.english.cardinals import (
    ARTICLES,
    DECADES,
    DIGITS,
    MOST_DIGITS,
    ONE_PART,
    ORDINALS,
    PARTS,
    SCALES,
    SIMPLE,
    TENS,
    ZEROS,
    Found,
    Number,
    digit_of,
    from_digits,
    read_cardinal,
    read_small,
    read_words,
    token_at,
)
from fobench.scoring.english.units import CURRENCIES, MEASURES

BREAK = "|"  # punctuation between two tokens
DASH = "--"  # a dash between blanks: a minus between numbers, else punctuation
SIGN = "-"  # a sign attached to what follows it

STARTERS = {*SIMPLE, *ORDINALS, *DECADES, *ARTICLES, "half", "quarter", "point", "double", "triple"}  # beside digits
CONTINUERS = {*SIMPLE, *SCALES, *ORDINALS, *PARTS, *ONE_PART, *ZEROS, *ARTICLES}  # of a number in digits, beside digits
CONTINUERS |= {"hundred", "point", "past", "to", "minute", "minutes", "and", "/", "double", "triple"}
SPECIAL = {*STARTERS, *CURRENCIES, BREAK, DASH, SIGN, "minus", "negative", "/"}  # no other word is read as a number
BEFORE_DECIMALS = {
    "",
    BREAK,
    *["is", "was", "are", "be", "about", "by", "of", "equals", "times", "plus", "minus", "than", "to", "at", "zero"],
}  # "at this point five" is none


def canonical(tokens: Sequence[str], rows: bool = False) -> list[str]:
    """The tokens with every number in its canonical form, and without breaks.

    A currency sign stands as a noun behind its number. `rows`: three or more single digits in a row are one number ("nine one one" is
    `911`), as in telephone numbers; else they stay `9 1 1`.
    """
    out: list[str] = []
    is_after_number = False  # whether a number stands before, so that a minus is an operator
    at = 0
    while at < len(tokens):
        token = tokens[at]
        if token not in SPECIAL and not token[:1].isdecimal():  # most words
            out.append(token)
            is_after_number = is_after_number and token in MEASURES
            at += 1
            continue
        is_unit = token == "second" and (is_after_number or token_at(tokens, at - 1) == "per")
        if not is_unit and (found := _signed(tokens, at, is_after_number, rows)):
            words, at = found
            out += words
            is_after_number = True
            continue
        at += 1
        if token in (SIGN, DASH, "minus") and is_after_number and _signed(tokens, at, True, rows):
            out.append("minus")
        elif token in CURRENCIES:
            out.append(CURRENCIES[token])
            continue
        elif token not in (BREAK, SIGN, DASH, "/"):
            out.append(token)
        is_after_number = is_after_number and token in MEASURES
    return out


def _signed(tokens: Sequence[str], at: int, is_after_number: bool, rows: bool) -> tuple[list[str], int] | None:
    """The words of a number with its sign and its currency, e.g. -$5, and the index behind it."""
    negative, currency = False, ""
    while (token := token_at(tokens, at)) in (SIGN, "minus", "negative") or token in CURRENCIES:
        if token in CURRENCIES and not currency:
            currency = CURRENCIES[token]
        elif token not in CURRENCIES and not negative and not is_after_number:
            negative = True
        else:
            return None
        at += 1
    found = read_number(tokens, at, rows)
    if found is None or (found[0].suffix and (currency or negative)):
        return None
    number, end = found
    sign = "-" if negative and number.value else ""
    return [f"{sign}{number}", *([currency] if currency else [])], end


def read_number(tokens: Sequence[str], at: int, rows: bool = False) -> Found | None:
    """The longest number that begins at `at`."""
    here = token_at(tokens, at)
    if here not in STARTERS and not here[:1].isdecimal():
        return None
    after = token_at(tokens, at + 1)
    if after not in CONTINUERS and not after[:1].isdecimal() and DIGITS.fullmatch(here) and len(here) <= MOST_DIGITS:
        return from_digits(here), at + 1
    found = _time(tokens, at) or _without_cardinal(tokens, at)
    if found is None:
        found = _row(tokens, at, rows) or read_cardinal(tokens, at)
        if found is None or found[0].suffix:
            return found
        found = _fraction(tokens, *_decimals(tokens, *_pairs(tokens, *found)))
    return _scaled(tokens, *found)


# ---- Rows of digits, years and times ---------------------------------------------------------------------------------


def _row(tokens: Sequence[str], at: int, rows: bool) -> Found | None:
    """Single digits in a row as one number: "double oh seven", "nine oh five" and, with `rows`, "nine one one"."""
    if digit_of(token_at(tokens, at - 1)) and token_at(tokens, at - 2) not in TENS:  # inside a row that is none
        return None
    row, end, is_spelled = "", at, False
    while len(row) < MOST_DIGITS:
        token, after = token_at(tokens, end), token_at(tokens, end + 1)
        times = {"double": 2, "triple": 3}.get(token, 1)
        if times > 1:
            token, after = after, token_at(tokens, end + 2)
        is_zero = token in ZEROS and (
            times > 1
            or (bool(row) and bool(digit_of(after) or after in ZEROS or (len(row) > 2 and after in ("", BREAK))))
        )
        if not (digit := "0" if is_zero else digit_of(token)):
            break
        is_spelled |= is_zero or times > 1
        row, end = row + digit * times, end + 1 + (times > 1)
    if not (is_spelled or (rows and len(row) > 2)) or len(row) < 2:
        return None
    if end - at > 1 and (token_at(tokens, end) == "hundred" or token_at(tokens, end) in SCALES):  # "two three hundred"
        return None
    return Number(Fraction(int(row)), row), end


def _pairs(tokens: Sequence[str], number: Number, end: int) -> Found:
    """Years and times in words: "nineteen ninety nine", "nineteen oh five", "seven thirty"; "nineteen nineties"."""
    if number.form == "other" or not number.value:
        return number, end
    digits, after = number.digits, token_at(tokens, end)
    if number.form == "pair":
        if after in ZEROS and (last := digit_of(token_at(tokens, end + 1))):
            return _row_number(f"{digits}0{last}"), end + 2
        if after in DECADES:
            return replace(_row_number(f"{digits}{DECADES[after]:02d}"), suffix="s"), end + 1
    found = read_words(tokens, end)
    if found and found[0].form == "pair":
        return _row_number(digits + found[0].digits), found[1]
    return number, end


def _row_number(row: str) -> Number:
    return Number(Fraction(int(row)), row)


def _time(tokens: Sequence[str], at: int) -> Found | None:
    """ "half past seven", "a quarter to eight", "ten past nine", as the digits of hour and minute: 730, 745, 910."""
    at += token_at(tokens, at) in ARTICLES and token_at(tokens, at + 1) == "quarter"
    named = {"half": 30, "quarter": 15}.get(token_at(tokens, at))
    minutes, end = (named, at + 1) if named else read_small(tokens, at)
    end += not named and token_at(tokens, end) in ("minute", "minutes")
    direction = token_at(tokens, end)
    hour, behind = read_small(tokens, end + 1)
    if not (1 <= hour <= 12 and 1 <= minutes <= 30):
        return None
    if direction == "past":
        return _row_number(f"{hour}{minutes:02d}"), behind
    if direction == "to" and named == 15:
        return _row_number(f"{hour - 1 or 12}45"), behind
    return None


# ---- Decimals and fractions ------------------------------------------------------------------------------------------


def _without_cardinal(tokens: Sequence[str], at: int) -> Found | None:
    """A number that begins with no cardinal: "point five", "half", "a quarter", "a third of", "half a million"."""
    here, after = token_at(tokens, at), token_at(tokens, at + 1)
    if here == "point":
        before = token_at(tokens, at - 1)
        if before in BEFORE_DECIMALS:
            found = _decimals(tokens, Number(Fraction(0)), at)
            return found if found[1] > at else None
    elif here in ARTICLES and (
        after in ("half", "quarter") or (after in ONE_PART and token_at(tokens, at + 2) == "of")
    ):
        return Number(Fraction(1, ONE_PART[after])), at + 2
    elif here == "half":
        return Number(Fraction(1, 2)), at + 1 + (after in ARTICLES)  # "half a cup" is "½ cup"
    return None


def _decimals(tokens: Sequence[str], number: Number, end: int) -> Found:
    """ "two point five", "three point fourteen": the digits behind a point."""
    if token_at(tokens, end) != "point" or number.value.denominator != 1:
        return number, end
    row, after = "", end + 1
    if (pair := read_words(tokens, after)) and pair[0].form == "pair":
        row, after = pair[0].digits, pair[1]
    while len(row) < MOST_DIGITS:
        token = token_at(tokens, after)
        digits = "0" if token in ZEROS and row else digit_of(token)
        if not digits and not row and re.fullmatch("[0-9]{1,40}", token):
            digits = token
        if not digits:
            break
        row, after = row + digits, after + 1
    return (Number(number.value + Fraction(int(row), 10 ** len(row))), after) if row else (number, end)


def _fraction(tokens: Sequence[str], number: Number, end: int) -> Found:
    """ "one third", "three quarters", "2 / 3", "two and a half", "2 1/2", "a million and a half"."""
    value = number.value
    if value.denominator != 1:
        return number, end
    word = token_at(tokens, end)
    parts = PARTS.get(word) or (ONE_PART.get(word) if value == 1 else None)
    if parts and 0 < value < 1000 and value % parts:
        return Number(value / parts), end + 1
    if word == "/":
        return _slashed(tokens, number, end)
    rest = _spoken_part(tokens, end + 1) if word == "and" else _written_part(tokens, end) if value < 1000 else None
    if rest:
        scale = number.scale if number.scale > 1 and value % number.scale == 0 else 1
        return Number(value + rest[0] * scale, scale=scale), rest[1]
    return number, end


def _slashed(tokens: Sequence[str], number: Number, end: int) -> Found:
    """A fraction of digits; one that is a whole number ("6/2") or has no value stays as it is written."""
    below = token_at(tokens, end + 1)
    if not re.fullmatch("[0-9]{1,40}", below) or not number.digits:
        return number, end
    if not int(below) or int(number.digits) % int(below) == 0:
        return Number(number.value, f"{number.digits}/{below}"), end + 2
    return Number(number.value / int(below)), end + 2


def _spoken_part(tokens: Sequence[str], at: int) -> tuple[Fraction, int] | None:
    """The part behind "and" in a mixed number: "a half", "three quarters"."""
    here, after = token_at(tokens, at), token_at(tokens, at + 1)
    if here == "half":
        return Fraction(1, 2), at + 1
    if here in (*ARTICLES, "one", "1") and after in ONE_PART:
        return Fraction(1, ONE_PART[after]), at + 2
    above = digit_of(here)
    if above and 0 < int(above) < PARTS.get(after, 0):
        return Fraction(int(above), PARTS[after]), at + 2
    return _written_part(tokens, at)


def _written_part(tokens: Sequence[str], at: int) -> tuple[Fraction, int] | None:
    """The part of a mixed number in digits, "1 / 2"."""
    above, below = token_at(tokens, at), token_at(tokens, at + 2)
    if (
        token_at(tokens, at + 1) == "/"
        and re.fullmatch("[0-9]{1,4} [0-9]{1,4}", f"{above} {below}")
        and int(above) < int(below)
    ):
        return Fraction(int(above), int(below)), at + 3
    return None


def _scaled(tokens: Sequence[str], number: Number, end: int) -> Found:
    """A decimal number or a fraction with a scale behind it: "2.5 million", "two and a half thousand"."""
    if number.value.denominator != 1 and number.scale == 1 and (scale := SCALES.get(token_at(tokens, end))):
        return Number(number.value * scale, scale=scale), end + 1
    return number, end
