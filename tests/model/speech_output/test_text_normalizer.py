"""Text normalization of LLM output for speech."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reference_model.speech_output.text_normalizer import MARKS, normalize
from reference_model.speech_output.verbalizer import is_speakable, verbalize

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
        ("See [the page](https://a.b/c) or https://a.b/c?d=1.", "See the page or."),
        ("Write to a@b.com [1]", "Write to a at b dot com"),
        ("Sure! 😀👍🏽 Paris (France) — yes.", "Sure! Paris, France, yes."),
        ("VERY IMPORTANT", "VERY important"),
        ("smørrebrød in Köln", "smorrebrod in Koln"),
        ("今天。", "今天."),
    ],
)  # fmt: skip
def test_texts_are_normalized_for_speech(written, said):
    assert normalize(written) == said


@pytest.mark.parametrize("text", ["", " \n", "...", "😀", "***", "https://a.b", "\ud800"])
def test_text_without_letters_is_empty(text):
    assert normalize(text) == ""


@given(st.one_of(WRITTEN, st.text()))
@example("9" * 5000)  # longer than Python turns into a number
@example("$" + "0" * 5000 + ".05")
@settings(max_examples=100)
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
