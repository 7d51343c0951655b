"""Numbers in English words, written apart from the code under test."""

from __future__ import annotations

ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (10**3, "thousand"))
ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
ORDINALS |= {"twelve": "twelfth"}


def in_words(value: int, *, british: bool = False, hyphen: str = "-") -> str:
    """The cardinal; `british`: with "and" before the last two digits."""
    if value < 20:
        return ONES[value]
    if value < 100:
        return TENS[value // 10] + (hyphen + ONES[value % 10] if value % 10 else "")
    size, name = next(((size, name) for size, name in SCALES if value >= size), (100, "hundred"))
    rest = value % size
    link = " and " if british and 0 < rest < 100 else " " if rest else ""
    tail = in_words(rest, british=british, hyphen=hyphen) if rest else ""
    return f"{in_words(value // size, british=british, hyphen=hyphen)} {name}{link}{tail}"


def ordinal_in_words(value: int) -> str:
    head, last = "", in_words(value)
    for link in (" ", "-"):
        if link in last:
            begin, _, end = last.rpartition(link)
            head, last = head + begin + link, end
    return head + ORDINALS.get(last, last[:-1] + "ieth" if last.endswith("y") else last + "th")


def year_in_words(year: int) -> str:
    """As years are said: nineteen ninety-nine, nineteen oh five, nineteen hundred, two thousand five, twenty twelve."""
    century, rest = divmod(year, 100)
    if 2000 <= year < 2010 or year % 1000 == 0:
        return in_words(year)
    if not rest:
        return f"{in_words(century)} hundred"
    return f"{in_words(century)} {'oh ' if rest < 10 else ''}{in_words(rest)}"
