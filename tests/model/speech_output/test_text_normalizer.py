"""Text normalization of LLM output for speech."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reference_model.speech_output.text_normalizer import MARKS, normalize
from reference_model.speech_output.verbalizer import is_speakable, verbalize
from reference_model.speech_output.written_signs import spell_out

PLAIN = st.lists(
    st.sampled_from(["Well,", "it's", "half-done;", "so", "fine.", "Is", "it?", "Yes:", "Anna", "Oh!"]), min_size=1
)
WRITTEN = st.lists(
    st.sampled_from(
        [
            *"aZ5.,-/*_#|[]()$€%^:'\"\n\t ²½😀—’é×=<&",
            "1988",
            "$5",
            "3.5 km",
            "Dr.",
            "e.g.",
            "U.S.",
            "www.a.b",
            "http://",
            "90s",
        ]
    )
).map("".join)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("It was 1988.", "It was nineteen eighty-eight."),
        ("It costs $5.", "It costs five dollars."),
        ("$5 million, $3.2M, 5€ or $1,234.56", "five million dollars, three point two million dollars, five euros or one thousand two hundred thirty-four dollars and fifty-six cents"),
        ("It is 3.5 km away.", "It is three point five kilometers away."),
        ("1 km at 120 km/h, 5 m², 9.8 m/s²", "one kilometer at one hundred twenty kilometers per hour, five square meters, nine point eight meters per second squared"),
        ("-5°C or 32 °F", "minus five degrees Celsius or thirty-two degrees Fahrenheit"),
        ("3 x 4 = 12 and 5 - 3 = 2", "three times four equals twelve and five minus three equals two"),
        ("1939–1945, 5-10 days", "nineteen thirty-nine to nineteen forty-five, five to ten days"),
        ("1½ cups, 3/4 full", "one and a half cups, three quarters full"),
        ("the 90s and the 1980s", "the nineties and the nineteen eighties"),
        ("at 7:30 pm", "at seven thirty P M"),
        ("Dr. Lee vs. Mr. Wu, e.g. in St. Paul, etc.", "Doctor Lee versus Mister Wu, for example in Saint Paul, et cetera."),
        ("in the U.S. today", "in the U S today"),
        ("**Pi** is  `roughly` _three_.", "Pi is roughly three."),
        ("# Fruit\n- Apples\n- Pears", "Fruit, Apples, Pears"),
        ("1. Wash it.\n2. Dry it.", "one, Wash it. two, Dry it."),
        ("See [the page](https://a.b/c) or https://a.b/c?d=1.", "See the page or a dot b slash c."),
        ("Write to a@b.com [1]", "Write to a at b dot com"),
        ("Sure! 😀👍🏽 Paris (France) — yes.", "Sure! Paris, France, yes."),
        ("VERY IMPORTANT", "VERY important"),
        ("smørrebrød in Köln", "smorrebrod in Koln"),
        ("今天。", "今天."),
    ],
)  # fmt: skip
def test_texts_are_normalized_for_speech(written, said):
    assert normalize(written) == said


@pytest.mark.parametrize("text", ["", " \n", "...", "😀", "***", "[1]", "```", "\ud800"])
def test_text_without_letters_is_empty(text):
    assert normalize(text) == ""


@given(st.one_of(WRITTEN, st.text()))
@example("9" * 5000)  # longer than Python turns into a number
@example("$" + "0" * 5000 + ".05")
def test_any_text_becomes_letters_and_common_marks(text):
    said = normalize(text)
    assert all(c.isalpha() or c in f" {MARKS}" for c in said)
    assert said == " ".join(said.split())
    assert not said or any(c.isalpha() for c in said)


@given(WRITTEN)
@settings(max_examples=100)
def test_normalization_is_idempotent(text):
    said = normalize(text)
    assert normalize(said) == said


@given(PLAIN)
def test_plain_text_stays_as_it_is(words):
    text = " ".join(words)
    assert normalize(text) == verbalize(text) == text
    assert is_speakable(text)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("2*3 = 6", "two times three equals six"),
        ("5 * 3 = 15 and a*b, x * y", "five times three equals fifteen and a times b, x times y"),
        ("7/8, 22/7, 6/2 = 3, 24/7", "seven eighths, twenty-two over seven, six divided by two equals three, twenty-four seven"),
        ("2**3 or x^10 or 10^-3 or 10⁻⁶", "two cubed or x to the power of ten or ten to the power of minus three or ten to the power of minus six"),
        ("5-3=2, 3-5 days, –5", "five minus three equals two, three to five days, minus five"),
        ("get_user_id and file.py", "get underscore user underscore id and file dot py"),
        ("C#, C++ and .NET in Node.js", "C sharp, C plus plus and dot NET in Node dot js"),
        ("a == b, a != b, x <= 3", "a equals b, a is not b, x at most three"),
        ("if a<b and c>d", "if a less than b and c greater than d"),
        ("**bold**, *it*, _so_, un*believ*able, ~~old~~", "bold, it, so, unbelievable, old"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a, b, one, two,"),
        ("```python\nx = 1\n```", "x equals one,"),
        ("Title\n=====\nText", "Title, Text"),
        ("- [ ] milk\n- [x] eggs", "milk, eggs"),
        ("https://www.example.com/docs/my-page?x=1#y", "example dot com slash docs slash my page"),
        ("first.last@ex-ample.co.uk", "first dot last at ex dash ample dot co dot uk"),
        ("[Foo](https://a.b/Foo_(bar)), [a](b \"c\") <https://a.b>", "Foo, a a dot b"),
        ("1️⃣ ℹ️ ❤️ 🇫🇷 hi 👨‍👩‍👧", "one hi"),
        ("-$5, US$5, ¥500, 5¢, $10/month", "minus five dollars, US five dollars, five hundred yen, five cents, ten dollars per month"),
        ("2024-05-03 at 14:05:30", "May third, twenty twenty-four at fourteen oh five and thirty seconds"),
        ("by * and, price * 3, <unk> so", "by asterisk and, price times three, so"),
        ("π, Δt, ∞, 5 μm, 1⅛", "pi, delta t, infinity, five micrometers, one and one eighth"),
        (r"\(\frac{1}{2} \times 3\)", "a half times three"),
        ("v1.2.3, 3:1, ~5", "v one point two point three, three to one, about five"),
        ("/usr/bin and path/to/file.py, and/or", "slash usr slash bin and path slash to slash file dot py, and or"),
    ],
)  # fmt: skip
def test_what_must_be_said_is_said(written, said):
    assert normalize(written) == said


NAMES = st.lists(st.text("abcxyz", min_size=2, max_size=5), min_size=2, max_size=4)


@given(NAMES, st.sampled_from(["_", ".", "/", " ", "-", "\n", "**", "`", " | ", "@", "+", "="]))
def test_no_letter_is_lost(names, between):
    assert set("".join(names)) <= set(normalize(between.join(names)))
    said = normalize(between.join(names)).replace(" ", "")
    rest = said
    for name in names:
        assert name in rest
        rest = rest[rest.index(name) + len(name) :]


@given(
    st.integers(0, 999),
    st.integers(0, 999),
    st.sampled_from(["*", " * ", "/", " / ", "+", "-", "^", " = ", "=", " x "]),
)
def test_no_number_and_no_sign_of_a_sum_is_lost(one, other, sign):
    said = normalize(f"It is {one}{sign}{other}").removeprefix("It is ")
    words = {
        "*": "times",
        "x": "times",
        "+": "plus",
        "=": "equals",
        "-": "to",
        "^": "power squared cubed",
        "/": "over divided half third quarter th",
    }
    assert verbalize(str(one)).split()[0].split("-")[0][:2] in said
    expected = words[sign.strip()].split()
    if sign == "/" and (one == other or (one, other) in ((24, 7), (9, 11))):
        return
    assert any(word in said for word in expected) or said.endswith(("rds", "ths"))


@given(st.text("ab*_`~#[]()|<>!\n -=.1", max_size=30))
def test_no_mark_of_markdown_is_left(text):
    assert not set(normalize(text, fold=False)) & set("*_`~#[]()|<>=")


@pytest.mark.parametrize("text", ["-" * 20_000 + "x", " " * 20_000 + "x", "|" * 20_000 + "x", " |" * 10_000])
def test_markup_takes_time_in_proportion_to_the_text(text):
    start = time.process_time()
    spell_out(text)
    assert time.process_time() - start < 2
