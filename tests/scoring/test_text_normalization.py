"""Normalization of words in any script."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.api.scenario import Expect, Scenario, Turn
from fobench.scoring.english import tokens
from fobench.scoring.english.words import whisper_normalizer
from fobench.scoring.language_notes import language_note
from fobench.scoring.text_normalization import digits_apart, normalize, normalize_as_whisper, normalize_for_wer

# First and last letter of a block, by script.
BLOCKS = {"Cyrillic": "\u0430\u044f", "Greek": "\u03b1\u03c1", "Arabic": "\u0627\u064a", "Hebrew": "\u05d0\u05ea"}
BLOCKS |= {"Devanagari": "\u0905\u094d", "Bengali": "\u0985\u09cd", "Tamil": "\u0b85\u0bcd", "Georgian": "\u10d0\u10f0"}
BLOCKS |= {
    "Han": "\u4e00\u9fa5",
    "kana": "\u3042\u3093",
    "Thai": "\u0e01\u0e30",
    "Hangul": "\uac00\ud7a3",
    "Ethiopic": "\u1200\u1230",
}
BLOCKS |= {"Khmer": "\u1780\u17b3", "Myanmar": "\u1000\u1021", "Armenian": "\u0561\u0586", "Telugu": "\u0c05\u0c4d"}


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("It's nineteen sixty-nine.", "it is 1969"),
        ("Um, the COLOUR is... red!", "the color is red"),
        ("Ten thousand dollars", "10000 dollars"),
        ("[laughs] Hello  (softly) there", "laughs hello softly there"),
        ("uh hmm", ""),
        ("What\u2019s it? I don\u2019t know", "what is it i do not know"),
        ("\u201cHi\u201d \u2014 she said\u2026", "hi she said"),
        ("R&B", "r and b"),
        ("C# and C++", "c sharp and c plus plus"),
        ("iPhone\u2122", "iphone"),
        ("I \u2764\ufe0f you", "i you"),
        ("\u0967\u0968 \u0932\u094b\u0917", "12 \u0932\u094b\u0917"),
        ("Hawai\u02bbi", "hawaii"),
        ("OK", "okay"),
    ],
)
def test_normalize(text, normal):
    assert normalize(text) == normal


@pytest.mark.parametrize(
    ("transcript", "normal"),
    [
        ("[laughs] Hello  (softly) there <unk>", "hello there"),
        ("(B) is 3 < 5", "b is 3 5"),
        ("(555) 123-4567", "555 123 4567"),
    ],
)
def test_remarks_in_a_transcript_are_not_said(transcript, normal):
    assert normalize(transcript, transcript=True) == normal


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("U.S.A.", "USA"),
        ("U. S. A.", "U S A"),
        ("9 a.m.", "9 AM"),
        ("J. R. R. Tolkien", "J.R.R. Tolkien"),
        ("Ph.D.", "PhD"),
        ("AT&T", "AT and T"),
        ("Henry VIII's", "Henry the eighth's"),
        ("World War II", "world war two"),
        ("King George I of England", "king george the first of england"),
        ("Super Bowl LIV", "super bowl fifty-four"),
        ("MCMXCIX", "nineteen ninety-nine"),
        ("Vol. II", "Vol. 2"),
        ("rock \u2018n\u2019 roll", "rock 'n' roll"),
        ("I 'm here", "I'm here"),
        ("Stra\u00dfe", "strasse"),
    ],
)
def test_spellings_of_one_word_are_alike(one, other):
    assert normalize(one) == normalize(other)


@pytest.mark.parametrize(
    "text", ["vitamin C I take", "Malcolm X", "When Charles I knew", "in this section I describe", "IV drip"]
)
def test_letters_that_are_no_numerals_or_initials_stay(text):
    assert normalize(text) == text.lower()


words = st.lists(
    st.sampled_from(
        [
            "don't",
            "it's",
            "café",
            "naïve",
            "twenty-five",
            "fi",
            "42",
            "o'clock",
            '"Paris"',
            "the",
            "colour",
            "U.S.",
            "7:30",
        ]
    ),
    max_size=8,
).map(" ".join)
VARIANTS = {
    "curly": lambda text: text.replace("'", "\u2019").replace('"', "\u201d"),
    "hyphen": lambda text: text.replace("-", "\u2011"),
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
    "full width": lambda text: "".join(chr(ord(c) + 0xFEE0) if c.isalnum() and c.isascii() else c for c in text),
    "zero width": lambda text: "\u200b".join(text),
    "byte order mark": lambda text: "\ufeff" + text,
    "soft hyphen": lambda text: text.replace("a", "a\u00ad"),
    "no-break space": lambda text: text.replace(" ", "\u00a0"),
    "ligature": lambda text: text.replace("fi", "\ufb01"),
    "blanks": lambda text: f"  {text.replace(' ', '   ')} ",
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@given(text=words)
def test_how_a_text_is_encoded_does_not_matter(variant, text):
    assert normalize(variant(text)) == normalize(text)


letters = st.one_of(
    [
        st.text(st.characters(min_codepoint=ord(first), max_codepoint=ord(last), categories=["L", "M"]), max_size=8)
        for first, last in BLOCKS.values()
    ]
)


@pytest.mark.parametrize("language", ["en", "xx"])
@given(texts=st.lists(letters, max_size=5))
def test_no_letter_or_mark_of_a_script_is_lost(language, texts):
    text = " ".join(text for text in texts if text and unicodedata.category(text[0])[0] == "L")
    expected = unicodedata.normalize("NFKC", text.lower())
    assert normalize(f"{text}!", language).replace(" ", "") == expected.replace(" ", "")


def test_scripts_without_blanks_are_counted_by_characters():
    assert normalize("\u4e2d\u56fd\u7684\u9996\u90fd\u3002").split() == list("\u4e2d\u56fd\u7684\u9996\u90fd")
    assert normalize("\u0e01\u0e31\u0e49\u0e19").split() == [
        "\u0e01\u0e31\u0e49",
        "\u0e19",
    ]  # a mark belongs to its letter
    assert normalize("\u092e\u0947\u0902 iPhone\u4e2d").split() == ["\u092e\u0947\u0902", "iphone", "\u4e2d"]


def test_other_languages_keep_accents_and_have_no_english_rules():
    assert normalize("El ni\u00f1o dijo: \u00abone\u00bb, it's 5", "es") == "el ni\u00f1o dijo one its 5"


@given(st.text(max_size=60), st.booleans())
def test_any_text_can_be_normalized(text, transcript):
    normal = normalize(text, transcript=transcript)
    assert normal == " ".join(normal.split())
    assert all(unicodedata.category(c)[0] in "LMN" or c in " -./" or unicodedata.category(c) == "Cn" for c in normal)
    digits_apart(normal)
    normalize(text, "xx")


@pytest.mark.parametrize(
    "part",
    [
        "five ",
        "5 ",
        "A ",
        "A.",
        "1/",
        "1.",
        "(",
        "[a",
        "<a",
        "$",
        "'",
        "\n",
        "point five ",
        "double ",
        "X ",
        "Henry ",
        "\u4e2d",
        "e\u0301",
        "\u0301",
        "a",
    ],
)
def test_the_time_is_linear_in_the_length(part):
    def seconds(length):
        text = part * (length // len(part))
        begin = time.process_time()
        normalize(text, transcript=True)
        return time.process_time() - begin

    assert seconds(10_000) < 0.5  # 0.05 s where nothing is quadratic


def test_whispers_own_normalizer_is_kept_beside():
    assert normalize_as_whisper("Ten thousand dollars (Paris), one, two") == "$10000 12"
    assert normalize_for_wer("Ten thousand dollars") == "1 0 0 0 0 dollars"


@pytest.mark.parametrize(
    ("normal", "parts"),
    [
        ("1984", "1 9 8 4"),
        ("-5", "minus 5"),
        ("3.14", "3 point 1 4"),
        ("21st", "2 1 st"),
        ("1990s", "1 9 9 0 s"),
        ("1/3", "1 3"),
        ("0.5", "0.5"),
        ("mp3 5th", "mp3 5 th"),
    ],
)
def test_digits_apart(normal, parts):
    assert digits_apart(normal) == parts.split()


def test_a_note_says_that_texts_are_in_another_script():
    def scenario(text, answer):
        return Scenario("q", "s", 0, (Turn("q.wav", "0" * 64, text),), Expect((answer,)))

    assert language_note([scenario("Which city?", "Paris"), scenario(None, "5")]) == ""
    assert language_note(
        [scenario("Which city?", "Paris"), scenario("\u4e2d\u56fd\u7684\u9996\u90fd", "\u5317\u4eac")]
    ) == (
        "The texts of 1 of 2 scenarios are mostly not in Latin letters: they are scored by the rules for English; "
        "error rates count each character of Han as a word."
    )
    assert "each character" not in language_note(
        [scenario("\u041a\u0430\u043a\u043e\u0439?", "\u0413\u043e\u0440\u043e\u0434")]
    )


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("10-15 people", "ten to fifteen people"),
        ("pages 3\u20135", "pages three to five"),
        ("$5-10", "five to ten dollars"),
        ("$5-$10", "five dollars to ten dollars"),
        ("10%\u201320%", "ten percent to twenty percent"),
        ("20\u201325 \u00b0C", "twenty to twenty-five degrees Celsius"),
        ("2.5-3.5", "two point five to three point five"),
        ("1,000-2,000", "one thousand to two thousand"),
        ("1914-1918", "nineteen fourteen to nineteen eighteen"),
        ("(1756 \u2013 1791)", "seventeen fifty-six to seventeen ninety-one"),
        ("call 555-1234", "call five five five one two three four"),
        ("9-1-1", "nine one one"),
        ("3-1", "three one"),
        ("12-2024", "12 2024"),
        ("10 - 4", "ten minus four"),
        ("May 1", "May first"),
        ("July 4, 1776", "July fourth, seventeen seventy-six"),
        ("Sept. 5", "September fifth"),
        ("\u00bd cup", "half a cup"),
        ("half an hour", "1/2 hour"),
        ("3 x 4", "three times four"),
        ("7:30 p.m.", "seven thirty p m"),
        ("zip 90210", "zip nine oh two one oh"),
        ("WWII", "World War Two"),
    ],
)
def test_ranges_dates_and_signs_as_they_are_said(written, said):
    assert normalize_for_wer(written) == normalize_for_wer(said)


@given(st.integers(1, 9999), st.integers(1, 9999), st.sampled_from(["-", "\u2013"]))
def test_a_range_is_read_with_to_only_upwards(first, last, dash):
    said = "to" in normalize(f"{first}{dash}{last}").split()
    assert said <= (first < last)


# ---- Shortcuts for plain texts change nothing --------------------------------------------------------------------------

PIECES = [
    "the",
    "Colour",
    "and",
    "one",
    "Twenty",
    "um",
    "mm",
    "mr",
    "st",
    "gonna",
    "don't",
    "o'clock",
    "percent",
    "a",
    "I",
    "5",
    "$5",
    "1990s",
    "2nd",
    "m",
    "x",
    "c++",
    "c#",
    "é",
    "é",
    "日本",
    "U.S.",
    "[laughs]",
    "(so)",
    "half",
    "k",
    ".",
    "..",
    ",",
    "?",
    "-",
    "--",
    "'",
    "$",
    "%",
    "3.14",
    "$5,",
    "\n",
]
TEXTS = st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from([" ", " ", " ", "", "  "])), max_size=9)
TEXTS = TEXTS.map(lambda pairs: "".join(piece + gap for piece, gap in pairs))


@given(TEXTS)
def test_plain_words_are_normalized_as_whisper_does(text):
    assert normalize_as_whisper(text) == " ".join(whisper_normalizer()(text).split())


@given(TEXTS)
def test_words_that_are_read_at_once_are_those_read_one_by_one(text):
    one_by_one = tokens.regex.compile(tokens.TOKEN.pattern.replace("(?P<words>", "(?P<words>(?!)"), tokens.TOKEN.flags)
    at_once, tokens.TOKEN = tokens.tokenize(text.lower()), one_by_one
    try:
        assert tokens.tokenize(text.lower()) == at_once
    finally:
        tokens.TOKEN = tokens.regex.compile(one_by_one.pattern.replace("(?!)", "", 1), one_by_one.flags)
