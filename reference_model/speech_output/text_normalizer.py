"""Text normalization of LLM output for speech: words and common punctuation only.

Markdown, list marks and pictographs are removed; code, sums and addresses (`written_signs`), numbers, amounts of money, units,
signs and abbreviations become words, as in the texts that the speech decoder was trained on. The displayed text is not changed.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from reference_model.speech_output.verbalizer import NUMBER, cardinal, verbalize, year
from reference_model.speech_output.written_signs import spell_out

MOST_PASSES = 4
SIGNS = {
    "×": " times ", "÷": " divided by ", "±": " plus or minus ", "≈": " about ", "≠": " is not ", "≤": " at most ",
    "≥": " at least ", "<": " less than ", ">": " greater than ", "√": " the root of ", "¥": " yen ", "₹": " rupees ",
}  # fmt: skip
PAUSES = dict.fromkeys("()[]{}|→—–", ", ")
LETTERS = {
    "ß": "ss",
    "æ": "ae",
    "œ": "oe",
    "ø": "o",
    "ł": "l",
    "Æ": "Ae",
    "Ø": "O",
    "Ł": "L",
}  # letters that NFKD does not decompose
ASCII = str.maketrans({"−": "-", "⁄": "/", "、": ",", "’": "'", "。": ". "} | LETTERS)
UNFOLDED = str.maketrans({"−": "-", "⁄": "/", "、": ",", "’": "'", "。": ". "})
MARKS = "'.,?!:;-"
FRACTIONS = {"1/2": "a half", "1/3": "a third", "2/3": "two thirds", "1/4": "a quarter", "3/4": "three quarters"}
SCALES = {"k": "thousand", "K": "thousand", "M": "million", "bn": "billion", "B": "billion"}
SCALE = "hundred|thousand|million|billion|trillion"
MONEY = {"$": "dollars", "£": "pounds", "€": "euros"}
POWERS = {"2": "squared", "3": "cubed"}
UNITS = {  # after a number; the plural has an s unless `SEVERAL` says otherwise
    "km": "kilometer", "m": "meter", "cm": "centimeter", "mm": "millimeter", "mi": "mile", "yd": "yard", "s": "second",
    "kg": "kilogram", "g": "gram", "mg": "milligram", "lb": "pound", "lbs": "pound", "oz": "ounce", "ms": "millisecond",
    "l": "liter", "L": "liter", "ml": "milliliter", "mL": "milliliter", "sec": "second", "min": "minute", "h": "hour",
    "hr": "hour", "hrs": "hour", "W": "watt", "kW": "kilowatt", "KB": "kilobyte", "MB": "megabyte", "GB": "gigabyte",
    "TB": "terabyte", "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz", "ft": "foot",
    "μm": "micrometer", "μg": "microgram", "μs": "microsecond", "mph": "mile per hour", "°C": "degree Celsius", "°F": "degree Fahrenheit",
}  # fmt: skip
SEVERAL = {"foot": "feet", "mile per hour": "miles per hour", "degree Celsius": "degrees Celsius"}
SEVERAL |= {"degree Fahrenheit": "degrees Fahrenheit"} | {u: u for u in UNITS.values() if u.endswith("hertz")}
SPACED = {"s": "(?<= )s"}  # "the 90s" are no seconds
UNIT = "|".join(SPACED.get(u, re.escape(u)) for u in sorted(UNITS, key=len, reverse=True))
SHORT = {  # abbreviations with a point
    "Dr": "Doctor", "Mr": "Mister", "Mrs": "Missus", "Ms": "Miss", "Prof": "Professor", "Gen": "General", "Mt": "Mount",
    "Gov": "Governor", "Sen": "Senator", "Capt": "Captain", "Rev": "Reverend", "approx": "approximately",
    "vs": "versus", "e.g": "for example", "i.e": "that is", "cf": "compare",
}  # fmt: skip
LAST = {
    "etc": "et cetera",
    "Jr": "Junior",
    "Sr": "Senior",
    "Inc": "Incorporated",
    "Ltd": "Limited",
}  # abbreviations that may end a sentence

LAYOUT = (  # of lists and headings: pattern, replacement
    (r"(?m)^[ \t]*(?:[-*+•–][ \t]+|>[ \t]*|#+[ \t]+)+", ""),
    (r"(?m)^[ \t]*(\d{1,2})[.)][ \t]+", r"\1, "),
    (r"(?<=\w)[ \t]*\n\s*", ", "),
    (r"(?<=\d)(?<!\b0)\s*[x*]\s*(?=\d)", "×"),
    (r"#\s?(?=\d)", "number "),
    (r"[*_`~#]+", ""),
)
NUMBERS = (
    (rf"([$£€])\s?({NUMBER})\s?({SCALE})\b", lambda m: f"{m[2]} {m[3]} {MONEY[m[1]]}"),
    (rf"([$£€])\s?({NUMBER})(k|K|M|bn|B)\b", lambda m: f"{m[2]} {SCALES[m[3]]} {MONEY[m[1]]}"),
    (rf"({NUMBER})\s?([£€])(?!\d)", lambda m: f"{m[1]} {MONEY[m[2]]}"),
    (r"(?<![\d/])([123]/[234])(?![\d/])", lambda m: FRACTIONS.get(m[1], m[1])),
    (r"\b(\d{4})\s?[-–—]\s?(?=\d{4}\b)", r"\1 to "),
    (r"(?<=\d)\s-\s(?=\d)", " minus "),
    (r"(?<![\d-])(?!\d{3}-\d{4}\b)(\d{1,3})\s?[-–—]\s?(?=\d{1,4}(?![\d-]))", r"\1 to "),
    (r"(?<=\d)-(?=\d)", " "),
    (r"(?<![\w-])-(?=\.?\d)", " minus "),
    (rf"({NUMBER}) ?({UNIT})(?:\^([23]))?(?:/(h|s|l|L)(\^2)?)?(?![\w'])", lambda m: _measure(m)),
    (r"\^([23])(?!\d)", lambda m: f" {POWERS[m[1]]}"),
    (r"\^(?=\w)", " to the power of "),
    (r"(\d)\s?([ap])m\b", lambda m: f"{m[1]} {m[2].upper()} M"),
    (r"(?<![\d.,$£€])(1[1-9]\d\d|20\d\d)(?=,(?!\d))", lambda m: year(int(m[1]))),
    (r"(?<!\d)'?([2-9]0)'?s\b", lambda m: f"{cardinal(int(m[1]))[:-1]}ies"),
)
WORDS = (
    (r"\bNo\.\s?(?=\d)", "number "),
    (r"\bSt\.(?=\s[A-Z])", "Saint"),
    (rf"\b({'|'.join(map(re.escape, SHORT))})\.(?!\w)", lambda m: SHORT[m[1]]),
    (rf"\b({'|'.join(LAST)})\.(?=\s+[A-Z]|\s*$)", lambda m: f"{LAST[m[1]]}."),
    (rf"\b({'|'.join(LAST)})\.(?!\w)", lambda m: LAST[m[1]]),
    (
        r"\b((?:[A-Za-z]\.){2,})(?=(\s*$)?)",
        lambda m: " ".join(m[1].upper().split(".")).rstrip() + "." * (m[2] is not None),
    ),
    (r"(?<=\w)\.(?=(?:com|org|net|gov|edu|io)\b)", " dot "),
    (r"\b[A-Z]{6,}\b", lambda m: m[0].lower()),
)
TIDY = (
    (r"\s*--+\s*|\s+-\s+|\s+-$", ", "),
    (r"\s+([.,?!;:])", r"\1"),
    (r"([.?!;:,]),+", r"\1"),
    (r",+([.?!;:])", r"\1"),
    (r"^[\s,;:.?!-]+", ""),
    (r"\s+", " "),
)


def normalize(text: str, fold: bool = True) -> str:
    """The text in letters and `MARKS` with single spaces; "" without any letter. Idempotent.

    `fold`: without accents, as in the training texts; otherwise letters keep all their marks (é, नि).
    """
    for _ in range(MOST_PASSES):  # a replacement may enable another
        normalized = _once(text, fold)
        if normalized == text:
            break
        text = normalized
    return text


def _once(text: str, fold: bool) -> str:
    text = re.sub(r"(?<=\d)(?=[¼-¾⅐-⅞])", " and ", text)
    text = re.sub(r"[¼-¾⅐-⅞]", lambda m: unicodedata.normalize("NFKC", m[0]).replace("⁄", "/"), text)
    text = unicodedata.normalize("NFKC", spell_out(text)).translate(ASCII if fold else UNFOLDED)
    text = _changed(_changed(_changed(text, LAYOUT), NUMBERS), WORDS)
    text = unicodedata.normalize("NFC", verbalize("".join((SIGNS | PAUSES).get(c, c) for c in text), fold))
    said = [c if c.isalpha() or c in MARKS or (not fold and _is_letter_mark(c)) else " " for c in text]
    text = _changed("".join(said), TIDY).strip()
    return text if any(map(str.isalpha, text)) else ""


def _is_letter_mark(character: str) -> bool:
    """Whether a character is a mark of a letter (a vowel sign, an accent), and no selector of an emoji or a joiner."""
    return unicodedata.category(character) in ("Mn", "Mc") and not "\ufe00" <= character <= "\ufe0f"


def _changed(text: str, rules: tuple[tuple[str, Any], ...]) -> str:
    for pattern, change in rules:
        text = re.sub(pattern, change, text)
    return text


def _measure(match: re.Match[str]) -> str:
    """The replacement of a number with a unit: "3.5 km/h" -> "3.5 kilometers per hour"."""
    number, name, power, per, squared = match.groups()
    unit = UNITS[name] if number == "1" else SEVERAL.get(UNITS[name], f"{UNITS[name]}s")
    square = {"2": "square ", "3": "cubic "}.get(power or "", "")
    return f"{number} {square}{unit}" + (f" per {UNITS[per]}" if per else "") + (" squared" if squared else "")
