"""Tokens of a lower-case English text: words, digits, signs that are said, and breaks for the punctuation between them."""

from __future__ import annotations

import unicodedata

import regex

from fobench.scoring.english.numbers import BREAK, DASH, SIGN
from fobench.scoring.english.units import CURRENCIES, SYMBOLS
from fobench.scoring.english.words import FILLERS
from fobench.scoring.unicode_text import CHARACTER, LETTERS

SIGNS = {"&": "and", "%": "percent", "=": "equals", "÷": "divided by", "×": "times", "@": "at", "±": "plus or minus"}
UNIT = "|".join(map(regex.escape, SYMBOLS))
TOKEN = regex.compile(
    r"(?P<words>(?<=^|[a-z][.,?!;:]? )[a-z]+(?: [a-z]+)*(?=[ .,?!;:]|$))"  # as `word` reads them, many at once
    r"|(?P<ordinal>[0-9]+(?:st|nd|rd|th)(?!\p{L}))"
    r"|(?P<decade>'?(?:[0-9]{2})?[0-9]0'?s(?!\p{L}))"
    r"|(?P<time>(?<![0-9:])[0-9]{1,2}(?::[0-5][0-9]){1,2}(?![0-9:])|(?<![0-9.])[0-9]{1,2}\.[0-5][0-9](?= ?[ap]m\b))"
    r"|(?P<date>(?<![0-9/])[0-9]+(?:/[0-9]+){2,})"
    r"|(?P<grouped>(?<![0-9.])[0-9]{1,3}(?:\.[0-9]{3}){2,}(?![0-9.]))"
    r"|(?P<version>(?<![0-9.])[0-9]+(?:\.[0-9]+){2,})"
    r"|(?P<number>(?<![0-9,])[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?(?![0-9])|[0-9]+(?:\.[0-9]+)?|(?<![0-9.])\.[0-9]+)"
    r"|(?P<scale>(?<=[$€£¥₹][0-9][0-9.,]{0,20}) ?(?:[mbt]n|[kmbt])(?!\p{L}))"
    r"|(?P<power>\^[23](?![0-9]))"
    rf"|(?P<unit>(?<=[0-9] ?)(?:{UNIT})(?!\p{{L}}))|(?P<degree>°)"
    r"|(?P<sharp>(?<!\p{L})[a-g]\#(?!\w)|(?<!\p{L})c\+\+)"
    r"|(?P<times>(?<=[0-9] ?)[*×](?= ?[0-9.(])|(?<=[0-9] )x(?= [0-9]))"
    rf"|(?P<word>{CHARACTER}|{LETTERS}(?:'{LETTERS})*)"
    r"|(?P<divided>(?<=[0-9)] )/(?= [0-9(]))|(?P<slash>(?<=[0-9])/(?=[0-9]))"
    r"|(?P<dash>(?<=\s)[-−](?=\s)|(?<=[0-9) ] ?)−)"
    r"|(?P<minus>(?<![\w\-])-(?=[0-9.$€£¥])|−)"
    r"|(?P<plus>(?<=\w)\+(?!\+)|(?<![+\w])\+(?= ?[0-9.]))"
    r"|(?P<number_sign>\#(?=[0-9]))"
    r"|(?P<amount>(?<=[0-9])[$€£¥₹¢₩₽])|(?P<currency>[$€£¥₹¢₩₽])"
    r"|(?P<sign>(?<!=)=(?!=)|[%&÷×@±])"
    r"|(?P<space>[^\S\n]+|\n(?![^\S\n]*\n)|[_'\"*-])"
    r"|(?P<other>.)",
    regex.DOTALL | regex.V1,
)
MAGNITUDES = {"k": "thousand", "m": "million", "b": "billion", "t": "trillion"}  # behind an amount of money, "$5bn"
SAID = {"divided": "divided by", "times": "times", "plus": "plus", "number_sign": "number", "degree": "degree"}
PLAIN = {"slash": "/", "minus": SIGN, "dash": DASH}


def tokenize(text: str) -> list[str]:
    """The tokens of a text; `BREAK` for punctuation, `DASH` and `SIGN` for a minus, currency signs as they stand."""
    tokens: list[str] = []
    for match in TOKEN.finditer(text):
        kind = match.lastgroup or "other"
        if kind == "space":
            continue
        if kind == "words" or kind == "word":
            for token in match[0].replace("'", "").split(" "):
                if token not in FILLERS or (token == "mm" and tokens and tokens[-1][-1].isdecimal()):
                    tokens.append(token)
        elif kind in SAID:
            tokens += SAID[kind].split()
        elif kind in PLAIN:
            tokens.append(PLAIN[kind])
        else:
            tokens += _READERS[kind](match[0])
    return tokens


def _read_time(token: str) -> list[str]:
    """The digits of hour and minute, 7:30 as 730; "7:00" as "7 o'clock"."""
    digits = token.replace(":", "").replace(".", "")
    return [digits[:-2], "oclock"] if digits.endswith("00") and len(digits) < 5 else [digits]


def _read_number(token: str) -> list[str]:
    token = token.replace(",", "")
    return [f"0{token}" if token.startswith(".") else token]


def _read_other(token: str) -> list[str]:
    """A number without digits of its own, e.g. of an ancient script, is a word; anything else a break."""
    return [token if unicodedata.category(token).startswith("N") else BREAK]


_READERS = {
    "ordinal": lambda token: [token],
    "decade": lambda token: [token.replace("'", "")],
    "time": _read_time,
    "date": lambda token: token.split("/"),
    "grouped": lambda token: [token.replace(".", "")],
    "version": lambda token: " point ".join(token.split(".")).split(),
    "number": _read_number,
    "scale": lambda token: [MAGNITUDES[token.strip()[0]]],
    "power": lambda token: ["squared" if token == "^2" else "cubed"],
    "unit": lambda token: SYMBOLS[token].split(),
    "sharp": lambda token: [token[0], *("plus" for _ in token[2:]), "plus" if token[1] == "+" else "sharp"],
    "amount": lambda token: [CURRENCIES[token]],
    "currency": lambda token: [token],
    "sign": lambda token: SIGNS[token].split(),
    "other": _read_other,
}
