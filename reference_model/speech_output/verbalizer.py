"""Verbalization of numbers and signs: "1988" -> "nineteen eighty-eight", "$5" -> "five dollars".

TTS voices read "1988" in different ways; in words, text and audio agree whatever the voice. So the training texts are verbalized
(`reference_model.train`), and replies are before synthesis (`reference_model.speech_output.text_normalizer`).
"""

from __future__ import annotations

import re
import unicodedata

ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SCALES = ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
ODD_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
ODD_ORDINALS |= {"twelve": "twelfth"}
YEARS = range(1100, 2100)
MOST_DIGITS = 12  # longer numbers are read digit by digit
SIGNS = {"&": " and ", "+": " plus ", "=": " equals ", "@": " at ", "%": " percent", "°": " degrees"}
MONEY = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent")}
PLAIN = str.maketrans("‘’“”‐‑–—", "''\"\"----")
SPEAKABLE = re.compile(r"[A-Za-z '.,?!:;-]+")
UNCLEAR = re.compile(
    r"\b[A-Z]{6,}\b| x |\b[a-z]\. [a-z]\b|--"
)  # names of variables, products, letters separated by points
MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"


def cardinal(number: int) -> str:
    """12 -> "twelve". `number`: not negative, of at most `MOST_DIGITS` digits."""
    if number < 20:
        return ONES[number]
    if number < 100:
        rest = number % 10
        return TENS[number // 10] + (f"-{ONES[rest]}" if rest else "")
    size, name = next(scale for scale in SCALES if number >= scale[0])
    rest = number % size
    return f"{cardinal(number // size)} {name}" + (f" {cardinal(rest)}" if rest else "")


def ordinal(number: int) -> str:
    """12 -> "twelfth"."""
    head, mark, last = re.fullmatch(r"(.*?)([ -]?)([a-z]+)", cardinal(number)).groups()  # type: ignore[union-attr]  # always matches
    ending = ODD_ORDINALS.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")
    return head + mark + ending


def year(number: int) -> str:
    """1988 -> "nineteen eighty-eight"; 2005 -> "two thousand five"; 1900 -> "nineteen hundred"."""
    high, low = divmod(number, 100)
    if number // 10 == 200:
        return cardinal(number)
    if low == 0:
        return cardinal(number) if number % 1000 == 0 else f"{cardinal(high)} hundred"
    return f"{cardinal(high)} {'oh ' if low < 10 else ''}{cardinal(low)}"


def verbalize(text: str, fold: bool = True) -> str:
    """`text` with digits and signs in words, with single spaces; `fold`: without accents."""
    text = unicodedata.normalize("NFKD" if fold else "NFC", text.translate(PLAIN))
    text = "".join(c for c in text if not (fold and unicodedata.combining(c)))
    text = re.sub(r"(?<![\d.])(?=\.\d)", "0", text)
    text = re.sub(
        rf"\b({MONTHS}) (\d{{1,2}})\b(?!:)", lambda m: f"{m[1]} {ordinal(int(m[2]))}", text, flags=re.IGNORECASE
    )
    text = re.sub(rf"([$£€])\s?({NUMBER})", _money, text)
    text = re.sub(r"\b(\d{1,2}):([0-5]\d)\b", _clock, text)
    text = re.sub(r"\b(\d{1,6})(st|nd|rd|th)\b", lambda m: ordinal(int(m[1])), text, flags=re.IGNORECASE)
    text = re.sub(r"\b(\d{3}0)'?s\b", lambda m: _plural(year(int(m[1]))), text)
    text = re.sub(r"(?<![\d.,])(\d{4})(?![\d,]|\.\d)", _maybe_year, text)
    text = re.sub(NUMBER, lambda m: f" {_number(m[0])} " if _touches_letter(m) else _number(m[0]), text)
    text = "".join(SIGNS.get(c, c) for c in text)
    return re.sub(r"\s+([.,?!;:])", r"\1", " ".join(text.split()))


def is_speakable(text: str) -> bool:
    """Whether the text has only letters and common punctuation, which all voices read alike."""
    return bool(SPEAKABLE.fullmatch(text)) and not UNCLEAR.search(text)


def _number(digits: str) -> str:
    whole, _, part = digits.replace(",", "").partition(".")
    if len(whole) > MOST_DIGITS or (whole[0] == "0" and len(whole) > 1):
        spoken = " ".join(ONES[int(d)] for d in whole)
    else:
        spoken = cardinal(int(whole))
    return spoken + (" point " + " ".join(ONES[int(d)] for d in part) if part else "")


def _maybe_year(match: re.Match[str]) -> str:
    return year(int(match[1])) if int(match[1]) in YEARS else match[1]


def _touches_letter(match: re.Match[str]) -> bool:
    around = match.string[max(0, match.start() - 1) : match.start()] + match.string[match.end() : match.end() + 1]
    return any(c.isalpha() for c in around)


def _plural(word: str) -> str:
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


def _money(match: re.Match[str]) -> str:
    whole, _, part = match[2].replace(",", "").partition(".")
    unit, small = MONEY[match[1]]
    if part and len(part) != 2:
        return f"{_number(match[2])} {unit}s"
    spoken = f"{_number(whole)} {unit}{'' if whole == '1' else 's'}"
    cents = int(part or 0)
    coin = small if cents == 1 else "pence" if small == "penny" else f"{small}s"
    if not cents:
        return spoken
    return f"{cardinal(cents)} {coin}" if whole == "0" else f"{spoken} and {cardinal(cents)} {coin}"


def _clock(match: re.Match[str]) -> str:
    hour, minute = int(match[1]), int(match[2])
    tail = "o'clock" if minute == 0 else f"oh {cardinal(minute)}" if minute < 10 else cardinal(minute)
    return f"{cardinal(hour)} {tail}"
