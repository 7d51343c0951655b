"""English words in one form each: initialisms, Roman numerals, contractions and spelling. The tables of contractions and of British
spelling are those of Whisper's normalizer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from fobench.scoring.english.cardinals import ordinal

FILLERS = ("hmm", "mm", "mhm", "mmm", "uh", "um")  # Whisper's list
ABBREVIATED = "ok okay mt mount vs versus jan january feb february apr april jun june jul july aug august sep september"
ABBREVIATED += " sept september oct october nov november dec december"
SPELLINGS = dict(zip(ABBREVIATED.split()[::2], ABBREVIATED.split()[1::2], strict=True))  # beside Whisper's table

# Roman numerals are read behind these words, and behind the names of rulers (as ordinals).
NUMBERED_WORDS = (
    "war chapter part volume act phase type class book bowl title article episode stage grade level scene section"
)
SHORT_NUMBERED = ("vol", "ch", "pt", "fig")
NUMBERED = {*NUMBERED_WORDS.split(), *SHORT_NUMBERED}
RULER_NAMES = """
    albert alexander alfonso amenhotep baldwin benedict boniface carl carlos casimir catherine charles christian clement
    constantine darius david edmund edward elizabeth emmanuel felipe ferdinand francis franz frederick friedrich george gregory
    gustav haakon harald henry innocent ivan james john joseph juan kenneth leo leopold louis mary mehmed murad napoleon nicholas
    olav otto paul pedro peter philip pius ptolemy rainier ramesses ramses richard robert rudolf selim sigismund stephen
    theodosius thutmose umberto urban victor vladislav wenceslas wilhelm william xerxes artaxerxes"""
RULERS = {*RULER_NAMES.split()}
ROMAN_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
ROMAN = r"(?=[IVXLCDM])M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
NAMED_NUMERAL = re.compile(rf"\b([^\W\d_]+)(\.? |-)({ROMAN})(?![\w&])(?=(?: (\w+))?)")
WORLD_WAR = re.compile(r"\bWW ?(II?|[12])\b")
YEAR_NUMERAL = re.compile(rf"\b(?=M[IVXLCDM]{{3,}}\b){ROMAN}\b")

DOTTED = re.compile(r"\b(?:[^\W\d_]\.){2,}(?:[^\W\d_]\b)?")  # U.S.A., a.m.
SPACED_DOTTED = re.compile(r"\b[A-Z]\.(?: [A-Z]\.)+")  # U. S. A.
HYPHENED = re.compile(r"\b[A-Z](?:-[A-Z])+\b")  # U-S-A
SPACED = re.compile(r"\b[A-Z](?: [A-Z])+\b(?!['&])")  # U S A
PHD = re.compile(r"\bPh\.? ?D\b\.?")

NUMBER_SIGN = re.compile(r"(?<=\w )No\. ?(?=[0-9])")  # "Chanel No. 5"
SHARP = re.compile(r"\b(?:([b-g]) (sharp)|(c) (plus) (plus))(?!\S)")  # a name of its own, not the letter C
O_CLOCK = re.compile(r"\bo ?'? ?clock\b")
PER_CENT = re.compile(r"\bper cent\b")
APART_CONTRACTION = re.compile(r" '(?=(?:s|m|d|t|re|ve|ll)\b)")  # "I 'm"


@cache
def whisper_normalizer() -> Callable[[str], str]:
    """Whisper's English normalizer (Radford et al. 2022, arXiv 2212.04356, appendix C)."""
    from whisper_normalizer.english import EnglishTextNormalizer

    normalizer: Callable[[str], str] = EnglishTextNormalizer()
    return normalizer


@cache
def whisper_words() -> frozenset[str]:
    """The words that Whisper's normalizer drops, writes in full or reads as numbers; "and" only stands between such words."""
    normalizer = whisper_normalizer()
    parts = (pattern.replace(r"\b", "") for pattern in normalizer.replacers)  # type: ignore[attr-defined]
    numbers = normalizer.standardize_numbers.words  # type: ignore[attr-defined]
    return frozenset((*FILLERS, *parts, *numbers)) - {"and"}


def whisper_spelling(word: str) -> str:
    """The American spelling of a word by Whisper's table."""
    return whisper_normalizer().standardize_spellings.mapping.get(word, word)  # type: ignore[attr-defined, no-any-return]


def join_initialisms(text: str) -> str:
    """ "U.S.A.", "U. S. A.", "U-S-A" and "U S A" as "USA", "a.m." as "am"; `text` in its own case."""
    text = PHD.sub("PhD", text)
    text = DOTTED.sub(lambda match: match[0].replace(".", "") + (" " if match[0].endswith(".") else ""), text)
    text = SPACED_DOTTED.sub(lambda match: re.sub(r"[. ]", "", match[0]) + " ", text)
    text = HYPHENED.sub(lambda match: match[0].replace("-", ""), text)
    return SPACED.sub(_join_spaced, text)


def _join_spaced(match: re.Match[str]) -> str:
    """Two letters, or more without any but "A" and "I", may be words: "vitamin C I take"."""
    letters = match[0].split()
    may_be_words = {"A", "I"} & {*letters} if len(letters) == 2 else {*letters} <= {"A", "I"}
    return match[0] if may_be_words else "".join(letters)


def read_roman_numerals(text: str) -> str:
    """ "World War II" and "WWII" as "World War 2", "Henry VIII" as "Henry the 8th", "MCMXCIX" as "1999"; `text` in its own case."""
    return YEAR_NUMERAL.sub(
        lambda match: str(_roman_value(match[0])), NAMED_NUMERAL.sub(_read_named, WORLD_WAR.sub(r"World War \1", text))
    )


def _read_named(match: re.Match[str]) -> str:
    name, numeral, after = match[1], match[3], match[4]
    if "." in match[2] and name.lower() not in SHORT_NUMBERED:
        return match[0]
    is_ruler, is_numbered = name.lower() in RULERS, name.lower() in NUMBERED
    if not (is_ruler or is_numbered):
        is_title = name.istitle() and len(name) > 2 and match[2] == " " and set(numeral) <= {*"IVX"}
        if not is_title or len(numeral) == 1:
            return match[0]
    if numeral == "I" and (name.islower() or (name != "War" and after not in (None, "of"))):  # the pronoun
        return match[0]
    if len(numeral) == 1 and numeral not in "IVX":
        return match[0]
    value = _roman_value(numeral)
    return f"{name} the {ordinal(value)}" if is_ruler else f"{name} {value}"


def _roman_value(numeral: str) -> int:
    values = [ROMAN_VALUES[letter] for letter in numeral]
    return sum(-value if value < max(values[i:]) else value for i, value in enumerate(values))


@cache
def _contractions(apostrophes: bool) -> tuple[tuple[str, re.Pattern[str], str], ...]:
    """(what a text must hold, pattern, replacement) of Whisper's table, of texts with or without `apostrophes`."""
    table = whisper_normalizer().replacers  # type: ignore[attr-defined]
    found = ((pattern.replace(r"\b", ""), pattern, new) for pattern, new in table.items())
    return tuple((literal, re.compile(p), new) for literal, p, new in found if apostrophes or "'" not in literal)


def expand_contractions(text: str) -> str:
    """A lower-case text with contractions and abbreviated titles in full; "o'clock" and "percent" as one word."""
    text = PER_CENT.sub("percent", O_CLOCK.sub("oclock", text)).replace("cannot", "can not")
    text = APART_CONTRACTION.sub("'", text)
    for literal, pattern, replacement in _contractions("'" in text):
        if literal in text:
            text = pattern.sub(replacement, text)
    return text


@cache
def _spellings() -> dict[str, str]:
    return {**whisper_normalizer().standardize_spellings.mapping, **SPELLINGS}  # type: ignore[attr-defined]


def unify_spelling(token: str) -> str:
    """The American spelling of a word."""
    return _spellings().get(token, token)
