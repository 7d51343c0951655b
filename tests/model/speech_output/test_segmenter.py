"""Segmentation of replies while they are generated, and the published normalization."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_model.speech_output.segmenter import Segmentation, Segmenter, published_normalize
from tests.support.golden_data import FOLDER

PAIRS = json.loads((FOLDER / "sampling.json").read_text())["post_process"]


def words(text):
    """Tokens as an LLM's: a word with the space before it."""
    parts = text.split(" ")
    return [parts[0], *(" " + part for part in parts[1:])]


def segments(pieces, rules):
    """All segments of a reply, from the text of its tokens."""
    segmenter = Segmenter(rules)
    for piece in pieces:
        yield from segmenter.push(piece)
    yield from segmenter.finish()


def texts(text, **rules):
    return [segment.text for segment in segments(iter(words(text)), Segmentation(**rules))]


@pytest.mark.parametrize(("text", "expected"), PAIRS)
def test_the_published_normalization(text, expected):
    assert published_normalize(text) == expected


def test_the_first_segment_may_end_at_a_comma_and_later_ones_at_sentences():
    text = "Well, that I know for sure, my dear friend. It is Paris, of course, the capital of France. Bye!"
    assert texts(text) == [
        "Well, that I know for sure,",
        " my dear friend. It is Paris, of course, the capital of France.",
        " Bye!",
    ]


def test_a_long_wait_lets_later_segments_end_at_a_comma():
    text = "One two three four. " + "and " * 10 + "then, " + "more " * 6 + "end."
    assert len(texts(text, comma_after=8)) == 3
    assert len(texts(text, comma_after=40)) == 2


def test_a_number_is_never_cut():
    text = "It is worth about 3.14 million dollars today. That is 1,000 more."
    assert texts(text) == ["It is worth about 3.14 million dollars today.", " That is 1,000 more."]
    assert texts("Here are two of them: 1. Apples are red and good. 2. Pears are not.")[1].startswith(" 1. Apples")


def test_without_waiting_for_a_comma_the_first_segment_begins_after_some_words():
    text = "The capital of the country that you asked me about is Paris."
    assert texts(text) == [text]
    assert texts(text, first_after=5) == ["The capital of the country", " that you asked me about is Paris."]


def test_chinese_text_needs_no_spaces_between_words():
    made = list(segments(iter("今天天气很好我们去公园"), Segmentation(least=2, first_after=4)))
    assert [segment.text for segment in made] == ["今天天气", "很好我们去公园"]


def test_a_later_segment_is_not_awaited_for_longer_than_the_one_before_is_played():
    text = "The capital of the country that you asked me about in the morning is called Paris, and people who live there are glad."
    rules = {"first_after": 5, "growth": 2}
    made = texts(text, **rules)
    assert made[0] == "The capital of the country"
    assert made[1] == " that you asked me about in the morning"  # before a phrase, not in front of the tenth word
    assert texts(text, first_after=5, growth=None)[1:] == ["".join(made[1:])]
    assert all(len(b.split()) <= 2 * len(a.split()) for a, b in pairwise(made))


def test_a_clause_is_the_best_place_to_cut():
    text = "Paris is the capital of France, on the river Seine in the north of that country I believe."
    assert texts(text, first_after=4, growth=3)[:2] == [
        "Paris is the capital",
        " of France, on the river Seine in the north",
    ]
    assert texts(text.replace("Seine", "Seine,"), first_after=4, growth=3)[1] == " of France, on the river Seine,"
    assert texts("One two three four. Five six, seven eight nine, ten eleven twelve thirteen", growth=2)[1:] == [
        " Five six, seven eight nine,",
        " ten eleven twelve thirteen",
    ]


def test_a_word_that_leans_on_the_next_one_does_not_end_a_segment():
    text = "Josh you know acts. Tall old men saw young singers meeting a house painter yesterday."
    assert texts(text, growth=2)[1] == " Tall old men saw young singers meeting"
    assert texts(text.replace(" a ", " some "), growth=2)[1] == " Tall old men saw young singers meeting some"


def test_without_a_word_boundary_nothing_is_cut():
    made = list(segments(["One", " two", " three", " four", ".", " five", *("x" * 20)], Segmentation(growth=1)))
    assert [segment.text for segment in made] == ["One two three four.", " five" + "x" * 20]


@pytest.mark.parametrize(
    "rules", [{}, {"first_after": 3, "later_after": 6}, {"most": 7}, {"growth": 1.0}, {"first_after": 3, "growth": 2.0}]
)
@given(st.lists(st.text("ab 1.,!?\n。é", max_size=4), max_size=60))
def test_the_segments_are_the_reply_and_its_tokens_in_order(rules, pieces):
    made = list(segments(iter(pieces), Segmentation(**rules)))
    whole = "".join(pieces)
    joined = "".join(segment.text for segment in made)
    assert whole.startswith(joined)
    assert not whole[len(joined) :].strip()
    assert [token for segment in made for token in segment.tokens] == list(range(sum(len(s.tokens) for s in made)))
