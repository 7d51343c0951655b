"""Normalising, containment and the multiple-choice parser."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fobench.scoring.answer_matching import contains, label, normalize_answer, parse_choice, right_choices
from fobench.scoring.text_normalization import normalize

CITIES = ("London", "Paris", "Rome", "Berlin")
words = st.text(string.ascii_lowercase, min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("It's nineteen sixty-nine.", "it is 1969"),
        ("Um, the COLOUR is... red!", "the color is red"),
        ("Ten thousand dollars", "$10000"),
        ("[laughs] Hello  (softly) there", "hello there"),
        ("uh hmm", ""),
    ],
)
def test_normalize(text, normal):
    assert normalize(text) == normal


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
    ],
)
def test_contains(reply, answers, found):
    assert contains(reply, answers) is found


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_can_be_normalized(text):
    normal = normalize(text)
    assert normal == " ".join(normal.split())


@settings(deadline=None)
@given(st.text(max_size=60), st.lists(st.text(max_size=20), max_size=3), st.text(max_size=20))
def test_one_more_alias_never_makes_a_right_reply_wrong(reply, answers, more):
    assert not contains(reply, answers) or contains(reply, [*answers, more])


@settings(deadline=None)
@given(st.text(max_size=40))
def test_a_text_contains_itself(text):
    assert contains(text, [text]) is bool(normalize_answer(text))


@pytest.mark.parametrize(
    ("reply", "city"),
    [
        ("B", "Paris"),
        ("(b)", "Paris"),
        ("c.", "Rome"),
        ("B. Paris", "Paris"),
        ("(D) it is", "Berlin"),
        ("The answer is C", "Rome"),
        ("I think the correct answer is (a).", "London"),
        ("the answer is a.", "London"),
        ("Option D!", "Berlin"),
        ("I'd go with option B, surely", "Paris"),
        ("It's Paris.", "Paris"),
        ("The answer is Rome", "Rome"),
        ("A lovely city is Berlin", "Berlin"),  # an article is no label
        ("Not London but Paris", None),  # two choices
        ("The answer is B. No, the answer is C.", None),
        ("The answer is Z", None),  # a label beyond the choices
        ("I do not know.", None),
        ("", None),
    ],
)
def test_parse_choice(reply, city):
    found = parse_choice(reply, CITIES)
    assert (CITIES[found] if found is not None else None) == city


def test_the_longer_choice_wins_over_one_inside_it():
    assert parse_choice("Dark red, I think", ["red", "dark red", "blue"]) == 1


@pytest.mark.parametrize(
    "form", ["{}", "({})", "{}.", "The answer is {}", "The answer is {}.", "Option {}", "I pick {}."]
)
@pytest.mark.parametrize("index", range(4))
def test_every_form_of_every_label(form, index):
    assert parse_choice(form.format(label(index)), CITIES) == index


@settings(deadline=None)
@given(st.text(max_size=60), st.lists(words, max_size=6))
def test_a_parsed_choice_exists(reply, choices):
    assert parse_choice(reply, choices) in (None, *range(len(choices)))


@pytest.mark.parametrize(
    ("answers", "choices", "right"),
    [
        (("Paris",), CITIES, {1}),
        (("b",), CITIES, {1}),
        (("the Paris", "C"), CITIES, {1}),  # spelt out beats labels
        (("C",), ("D", "C"), {1}),
        (("Oslo",), CITIES, set()),
    ],
)
def test_right_choices(answers, choices, right):
    assert right_choices(answers, choices) == right
