"""Containment of answers as whole words and whole numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.scoring.answer_matching import contains, normalize_answer
from tests.scoring.number_words import in_words


@pytest.mark.parametrize(
    ("reply", "answers", "found"),
    [
        ("The capital is Paris, of course.", ["Paris"], True),
        ("Parisian food.", ["Paris"], False),  # whole words only
        ("That would be twelve.", ["12"], True),
        ("It's the sun.", ["Sol", "The Sun"], True),
        ("Sun.", ["The Sun"], True),  # an answer's leading article does not matter
        ("Vitamin C.", ["Vitamin A"], False),  # ... but only the leading one
        ("New York City", ["York New"], False),
        ("anything", [], False),
        ("anything", ["um"], False),  # an answer that normalizes to nothing
        ("", ["Paris"], False),
        ("The capital of France is (Paris).", ["Paris"], True),
        ("[Paris]", ["Paris"], True),
        ("It costs 42 dollars.", ["42"], True),
        ("It is 50 percent.", ["50"], True),
        ("It opens at 7 o'clock.", ["7"], True),
        ("It opens at seven.", ["7 o'clock"], True),
        ("At 7 p.m.", ["7:00"], True),
        ("It is minus five degrees.", ["-5"], True),
        ("It is 5 degrees.", ["-5"], False),
        ("It is -5 degrees.", ["5"], False),
        ("5.5", ["5"], False),
        ("one fifth", ["5"], False),
        ("the fifth", ["5"], False),
        ("the second", ["2nd"], True),
        ("Call nine one one.", ["911"], True),
        ("One, two, three.", ["123"], False),
        ("one two three", ["1, 2, 3"], True),
        ("five five five, one two three four", ["555-1234"], True),
        ("(555) 123-4567", ["5551234567"], True),
        ("five five five one two three four", ["5"], False),
        ("It was nineteen eighty-four", ["1984"], True),
        ("We are nineteen. Eighty four came", ["1984"], False),
        ("\u4e2d\u56fd\u7684\u9996\u90fd\u662f\u5317\u4eac\u3002", ["\u5317\u4eac"], True),
        (
            "\u0930\u093e\u091c\u0927\u093e\u0928\u0940 \u0926\u093f\u0932\u094d\u0932\u0940 \u0939\u0948",
            ["\u0926\u093f\u0932\u094d\u0932\u0940"],
            True,
        ),
        (
            "\u0930\u093e\u091c\u0927\u093e\u0928\u0940 \u0926\u093f\u0932\u094d\u0932\u0940 \u0939\u0948",
            ["\u0926\u093f\u0932"],
            False,
        ),  # a part of a word
        (
            "\u041e\u0442\u0432\u0435\u0442: \u041c\u043e\u0441\u043a\u0432\u0430.",
            ["\u043c\u043e\u0441\u043a\u0432\u0430"],
            True,
        ),
    ],
)
def test_contains(reply, answers, found):
    assert contains(reply, answers) is found


numbers = st.integers(0, 10**6)
UNITS = (
    "{}",
    "{} dollars",
    "{} percent",
    "{}%",
    "${}",
    "{} km",
    "{} people",
    "It is {}.",
    "({})",
    "about {}, I think",
    "**{}**",
)


@given(numbers, st.sampled_from(UNITS))
def test_a_number_is_found_with_any_unit(value, form):
    assert contains(form.format(value), [str(value)])
    assert contains(form.format(value), [in_words(value)])
    if "$" not in form and "%" not in form:
        assert contains(form.format(in_words(value)), [str(value)])


@given(numbers, numbers, st.sampled_from(UNITS))
def test_another_number_is_not_found(value, other, form):
    assert contains(form.format(value), [str(other)]) is (value == other)
    assert not contains(form.format(f"-{value + 1}"), [str(value + 1)])
    assert not contains(f"{value}.5", [str(value)])


@given(st.text(max_size=60), st.lists(st.text(max_size=20), max_size=3), st.text(max_size=20))
def test_one_more_alias_never_makes_a_right_reply_wrong(reply, answers, more):
    assert not contains(reply, answers) or contains(reply, [*answers, more])


@given(st.text(max_size=40))
def test_a_text_contains_itself(text):
    assert contains(text, [text]) is bool(normalize_answer(text))


@pytest.mark.parametrize(
    ("reply", "answer", "found"),
    [
        ("It was signed on July 4th, 1776.", "July 4, 1776", True),
        ("It was on the fourth of July.", "July 4", True),
        ("On 4 July 1776.", "July 4, 1776", True),
        ("On the twenty-fifth of December", "Dec. 25", True),
        ("July 4th", "4th", True),
        ("July 4", "4", True),
        ("July 14", "July 4", False),
        ("June 4", "July 4", False),
        ("the 14th of July", "4th of July", False),
        ("In May 2020", "May 20", False),
        ("C++", "C", False),  # names of their own
        ("C#", "C", False),
        ("F sharp", "F", False),
        ("C and C++", "C", True),
        ("C plus plus", "C++", True),
        ("World War Two", "WWII", True),
        ("Mt. Everest", "Mount Everest", True),
        ("From 1914 to 1918", "1914-1918", True),
        ("1939 \u2013 1945", "1939 to 1945", True),
        ("Between 10\u201315 %", "15", True),
        ("The score was 3-1.", "3 to 1", False),
    ],
)
def test_dates_ranges_and_names_with_signs(reply, answer, found):
    assert contains(reply, [answer]) is found


@given(st.integers(1, 31), st.sampled_from(["January", "May", "December"]))
def test_a_day_of_a_month_is_found_in_any_order(day, month):
    forms = [f"{month} {day}", f"{day} {month}", f"the {day} of {month}", f"{month} {in_words(day)}"]
    assert all(contains(f"It was {reply}, I think.", [answer]) for reply in forms for answer in forms)
    assert not any(contains(reply, [f"{month} {day % 31 + 1}"]) for reply in forms)
