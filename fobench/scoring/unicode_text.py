"""Unicode forms and scripts: what is one letter, word or sign however it is encoded, in any language."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable

import regex

# Scripts that are written without blanks between words: a token is a character with its marks.
UNSPACED_SCRIPTS = (
    *("Han", "Hiragana", "Katakana", "Bopomofo", "Yi", "Thai", "Lao", "Khmer", "Myanmar"),
    *("Tai_Tham", "New_Tai_Lue", "Tai_Le", "Tai_Viet", "Javanese", "Balinese"),
)
UNSPACED = "".join(rf"\p{{{script}}}" for script in UNSPACED_SCRIPTS) + "ー"
CHARACTER = rf"[[{UNSPACED}]&&[\p{{L}}\p{{N}}]]\p{{M}}*"  # a token of those scripts
LETTERS = rf"(?:[\p{{L}}--[{UNSPACED}]]\p{{M}}*)+"  # a word of the others, or a part of it

APOSTROPHES = dict.fromkeys(map(ord, "’‘ʼʻ‛＇′`´ʹ"), "'")
QUOTES = dict.fromkeys(map(ord, "“”„‟″«»"), '"')
DASHES = dict.fromkeys(map(ord, "‐‑‒–﹣－⁃"), "-")
EM_DASHES = dict.fromkeys(map(ord, "—―⸺⸻"), " | ")
TRADEMARKS = dict.fromkeys(map(ord, "™®©℠"), " ")
FRACTIONS = {ord(c): f" {unicodedata.normalize('NFKC', c).replace('⁄', '/')} " for c in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞⅐⅑⅒"}
BEFORE_NFKC = APOSTROPHES | QUOTES | DASHES | EM_DASHES | TRADEMARKS | FRACTIONS | {ord("№"): " number "}
AFTER_NFKC = APOSTROPHES | QUOTES | DASHES | EM_DASHES | {ord("⁄"): "/"}
SUPERSCRIPTS = regex.compile("[⁰¹²³⁴-⁹]+")
INVISIBLE = regex.compile(r"[\p{Cf}\p{Cs}\p{Me}\p{Default_Ignorable_Code_Point}]")
OTHER_DIGITS = regex.compile(r"[\p{Nd}--[0-9]]", regex.V1)
DIGIT_BLANKS = regex.compile("(?<=[0-9])[\u00a0\u2009\u202f'](?=[0-9]{3}(?![0-9]))")  # between groups of three digits
LATIN_MARKS = regex.compile(r"([\p{Latin}\p{ASCII}])\p{Mn}+")
LATIN_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ı": "i"}
)
TOKENS = regex.compile(rf"{CHARACTER}|{LETTERS}(?:'{LETTERS})*|[0-9]+|\p{{N}}", regex.V1)
SCRIPT_OF = regex.compile("|".join(f"(?P<{name}>\\p{{{name}}})" for name in ("Latin", *UNSPACED_SCRIPTS)))


def unify_forms(text: str) -> str:
    """`text` in one form of each character: NFKC, ASCII quotes, dashes and digits, no invisible characters.

    A true minus sign stays `−`; an em dash becomes ` | `; a superscript number is written behind `^`.
    """
    text = DIGIT_BLANKS.sub("", text)
    if text.isascii():
        return text
    text = SUPERSCRIPTS.sub(lambda match: "^" + unicodedata.normalize("NFKC", match[0]), text)
    text = unicodedata.normalize("NFKC", text.translate(BEFORE_NFKC)).translate(AFTER_NFKC)
    text = OTHER_DIGITS.sub(lambda match: str(unicodedata.decimal(match[0], match[0])), text)
    return unicodedata.normalize("NFKC", INVISIBLE.sub("", text))


def lower_plain(text: str) -> str:
    """Lower case; accents of Latin letters are dropped, marks of other scripts are kept."""
    text = text.lower()
    if text.isascii():
        return text
    text = LATIN_MARKS.sub(r"\1", unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFC", text).translate(LATIN_LETTERS)


def basic_tokens(text: str) -> list[str]:
    """The words of a text in any language, in lower case, without punctuation, with all letters and marks.

    In scripts without blanks between words a token is one character with its marks.
    """
    return [token.replace("'", "") for token in TOKENS.findall(unify_forms(text).lower())]


def main_script(texts: Iterable[str]) -> str:
    """The script of most letters: "Latin", the name of one without blanks, "other"; empty without letters."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_scripts(text))
    return counts.most_common(1)[0][0] if counts else ""


def _scripts(text: str) -> Counter[str]:
    if text.isascii():
        return Counter({"Latin": n} if (n := sum(map(str.isalpha, text))) else {})
    found = (SCRIPT_OF.match(c) for c in text if c.isalpha())
    return Counter(match.lastgroup or "other" if match else "other" for match in found)
