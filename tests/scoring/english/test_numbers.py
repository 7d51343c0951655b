"""Numbers in words and in digits are one token each, and neighbors stay apart."""

import re
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fobench.scoring.text_normalization import digits_apart, normalize
from tests.scoring.number_words import in_words, ordinal_in_words, year_in_words

naturals = (
    st.integers(0, 10**13)
    | st.integers(0, 2000)
    | st.builds(lambda a, n: a * 10**n, st.integers(1, 99), st.integers(0, 11))
)


@given(naturals, st.booleans(), st.sampled_from("- "))
def test_a_number_in_words_is_that_in_digits(value, british, hyphen):
    assert normalize(in_words(value, british=british, hyphen=hyphen)) == normalize(f"{value:,}") == str(value)


@given(st.integers(1, 10**12))
def test_a_negative_number_is_not_the_positive_one(value):
    negative = {normalize(f"{sign}{value}") for sign in ("-", "\u2212", "minus ", "negative ")}
    assert negative | {normalize(f"minus {in_words(value)}")} == {f"-{value}"}


@given(st.integers(1, 10**12))
def test_ordinals(value):
    ending = {1: "st", 2: "nd", 3: "rd"}.get(value % 10 if value % 100 not in (11, 12, 13) else 0, "th")
    assert normalize(ordinal_in_words(value)) == normalize(f"{value}{ending}") == f"{value}{ending}"


@given(st.integers(1010, 2099))
def test_years(year):
    assert normalize(year_in_words(year)) == str(year)


@given(st.integers(0, 10**6), st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_decimals(whole, digits):
    said = f"{in_words(whole)} point {' '.join(map(in_words, digits))}"
    written = f"{whole}.{''.join(map(str, digits))}"
    assert normalize(said) == normalize(written)
    assert Fraction(normalize(said)) == Fraction(written)


PARTS = {
    2: "half",
    3: "third",
    4: "quarter",
    5: "fifth",
    6: "sixth",
    7: "seventh",
    8: "eighth",
    9: "ninth",
    10: "tenth",
}


@given(st.sampled_from(sorted(PARTS)), st.data())
def test_fractions(below, data):
    above = data.draw(st.integers(1, below - 1))
    plural = f"{PARTS[below]}s" if above > 1 else PARTS[below]
    said, written = normalize(f"{in_words(above)} {plural}"), normalize(f"{above}/{below}")
    assert said == written
    assert Fraction(said) == Fraction(above, below)
    whole = data.draw(st.integers(1, 300))
    mixed = f"{in_words(whole)} and {'a' if above == 1 else in_words(above)} {plural}"
    assert normalize(mixed) == normalize(f"{whole} {above}/{below}")
    assert Fraction(normalize(mixed)) == whole + Fraction(above, below)


@given(
    st.lists(st.integers(0, 9999), min_size=2, max_size=6),
    st.sampled_from([", ", ". ", "; ", "! ", " - ,", "\u2014", "... ", "\n\n"]),
)
def test_numbers_with_punctuation_between_them_never_join(values, punctuation):
    apart = " ".join(map(str, values))
    assert normalize(punctuation.join(map(str, values))) == apart
    assert normalize(punctuation.join(map(in_words, values))) == apart


@given(st.text("0123456789", min_size=1, max_size=12))
def test_digits_read_one_by_one_have_no_error_against_the_number(digits):
    said = " ".join(in_words(int(digit)) for digit in digits)
    assert digits_apart(normalize(said)) == digits_apart(normalize(digits)) == list(digits)
    assert normalize(said, rows=True) == (digits if len(digits) > 2 else " ".join(digits))


@given(st.integers(1, 12), st.integers(1, 59))
def test_times(hour, minute):
    said = f"{in_words(hour)} {'oh ' if minute < 10 else ''}{in_words(minute)}"
    assert normalize(said) == normalize(f"{hour}:{minute:02d}")
    assert normalize(f"{in_words(hour)} o'clock") == normalize(f"{hour}:00")
    assert normalize(f"{in_words(hour)} p.m.") == normalize(f"{hour}:00 PM") == f"{hour} pm"


@given(st.integers(0, 10**6), st.sampled_from([("$", "dollar"), ("\u20ac", "euro"), ("\u00a3", "pound")]))
def test_money(amount, currency):
    sign, noun = currency
    said = normalize(f"{in_words(amount)} {noun}{'s' * (amount != 1)}")
    assert (
        said
        == normalize(f"{sign}{amount:,}")
        == normalize(f"{amount}{sign}")
        == f"{amount} {noun}{'s' * (amount != 1)}"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("half past seven", "7:30"),
        ("a quarter to eight", "7:45"),
        ("ten past nine", "9:10"),
        ("half a million", "500,000"),
        ("two and a half million", "2.5 million"),
        ("a million and a half", "1.5 million"),
        ("2 million 500 thousand", "2,500,000"),
        ("one hundred one hundred", "100 100"),
        ("between one hundred and two hundred", "between 100 and 200"),
        ("twenty thousand thirty thousand", "20,000 30,000"),
        ("three point fourteen", "3.14"),
        ("a third of it", "1/3 of it"),
        ("2\u00bd", "two and a half"),
        ("agent double oh seven", "agent 007"),
        ("room one oh one", "room 101"),
        ("flight three seventy", "flight 370"),
        ("the nineteen nineties", "the 1990s"),
        ("the '90s", "the nineties"),
        ("eighteen hundreds", "1800s"),
        ("two dollars and fifty cents", "$2.50"),
        ("fifty cents", "$0.50"),
        ("-$5", "minus five dollars"),
        ("$5bn", "five billion dollars"),
        ("fifty per cent", "50 %"),
        ("5 \u2212 3", "five minus three"),
        ("20 dollars minus 5", "twenty dollars minus five"),
        ("3 \u00d7 4 = 12", "three times four equals twelve"),
        ("6 / 2", "six divided by two"),
        ("5 \u00b1 2", "five plus or minus two"),
        ("-40\u00b0F", "minus forty degrees fahrenheit"),
        ("100 km/h", "one hundred kilometers per hour"),
        ("1 ft", "one foot"),
        ("5 lbs", "five pounds"),
        ("1 sec", "one second"),
        ("5\u00b2", "five squared"),
        ("COVID-19", "covid nineteen"),
        ("**42**", "42"),
        ("1'000'000", "1,000,000"),
        ("10\u202f000", "ten thousand"),
        ("Chanel No. 5", "Chanel number five"),
        ("1.2.3", "one point two point three"),
        ("7-Eleven", "seven eleven"),
    ],
)
def test_words_and_digits_are_alike(one, other):
    assert normalize(one) == normalize(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("minus five", "5"),
        ("2nd", "2"),
        ("1/5", "5"),
        ("0.5", "5"),
        ("50 percent", "50"),
        ("one, two", "12"),
        ("In nineteen. Eighty four people", "In 1984 people"),
        ("6/2", "3"),
        ("10\u2079", "109"),
        ("at this point five people", "at this 0.5 people"),
        ("half past seven", "half seven"),
    ],
)
def test_unlike_numbers_stay_unlike(one, other):
    assert normalize(one) != normalize(other)


def test_a_row_of_digits_beyond_any_number_is_kept():
    assert normalize("9" * 5000) == "9" * 5000
    assert normalize("point " + "five " * 5000).startswith("0.555")


@given(
    st.lists(
        st.sampled_from(
            [
                "one",
                "two",
                "hundred",
                "thousand",
                "half",
                "third",
                "quarter",
                "7",
                "12",
                "minus",
                "of",
                "people",
                "second",
                "first",
                "twenty",
                "percent",
            ]
        ),
        max_size=8,
    )
)
def test_what_is_normalized_stays_as_it_is(words):
    assume("-" not in normalize(" ".join(words)))  # "minus" behind a number is an operator
    once = normalize(" ".join(words))
    assume(not re.search(r"\d \d+/\d", once))  # "one one third" is two numbers, which in digits read as a mixed one
    assert normalize(once) == once
