"""The n-gram language model: probabilities sum to 1, and some by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fobench.errors import FobenchError
from reference_model.speech_input.ngram_lm import (
    BEGINNING,
    LARGEST,
    ORDER,
    PAD,
    NGramLM,
    after,
    packed,
    shorter,
    unpacked,
)
from reference_model.train.speech_input.ngram_lm_training import learn

SIZE = 8  # units 1 to 7; 7 is in no text
TEXTS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=12), min_size=1, max_size=20)


def context(*units):
    """After these at the beginning of a text."""
    found = BEGINNING
    for unit in units:
        found = after(found, unit)
    return found


def total(lm, before):
    return sum(math.exp(lm.score(before, unit)) for unit in range(1, SIZE))


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.lists(st.integers(1, 7), max_size=6), st.integers(SIZE, 60))
def test_probabilities_sum_to_1(texts, before, entries):
    """In contexts that were seen and others, however much of the table was pruned."""
    lm = NGramLM.of(*learn(texts, SIZE, entries))
    seen = [context(*texts[0][:n]) for n in range(len(texts[0]) + 1)]
    for one in (*seen, context(*before), 0):
        assert total(lm, one) == pytest.approx(1, abs=5e-3)  # scores are stored as float16


@settings(max_examples=30, deadline=None)
@given(TEXTS, st.integers(SIZE, 60))
def test_a_table_has_no_more_than_its_entries_and_none_twice(texts, entries):
    grams, scores = learn(texts, SIZE, entries)
    assert len(grams) <= entries and scores.shape == (len(grams), 2)
    assert grams.dtype == torch.int16 and scores.dtype == torch.float16
    assert len({tuple(row) for row in grams.tolist()}) == len(grams)


def test_probabilities_by_hand():
    """Texts "1 2" three times and "1 3" once. No count is 2, so 3/4 is taken of each."""
    lm = NGramLM.of(*learn([[1, 2]] * 3 + [[1, 3]], 4, 1000))
    one = {1: (4 - 0.75) / 8 + 0.75 * 3 / 8 / 3, 2: (3 - 0.75) / 8 + 0.75 / 8, 3: (1 - 0.75) / 8 + 0.75 / 8}
    after_1 = {2: (3 - 0.75) / 4 + 0.75 * 2 / 4 * one[2], 3: (1 - 0.75) / 4 + 0.75 * 2 / 4 * one[3]}
    assert math.exp(lm.score(0, 2)) == pytest.approx(one[2], rel=2e-3)
    assert math.exp(lm.score(after(0, 1), 2)) == pytest.approx(after_1[2], rel=2e-3)
    assert math.exp(lm.score(after(0, 1), 1)) == pytest.approx(1 - after_1[2] - after_1[3], rel=1e-2)
    assert lm.score(after(0, 3), 2) == lm.score(0, 2)  # nothing followed 3: it is as if nothing was before


def test_what_was_seen_is_likelier_and_a_beginning_is_a_context():
    lm = NGramLM.of(*learn([[1, 2, 3, 4, 5]] * 5 + [[5, 3, 1]] * 5, SIZE, 1000))
    assert lm.score(context(1, 2, 3), 4) > lm.score(context(5, 3), 4)
    assert lm.score(BEGINNING, 1) > lm.score(BEGINNING, 4)


def test_pruning_keeps_what_tells_most():
    """Of 2 n-grams, the frequent one whose end is no surprise after it, but is without it."""
    texts = [[1, 2]] * 50 + [[3, 4]] + [[4], [2], [5], [6]] * 30
    whole, small = (NGramLM.of(*learn(texts, SIZE, entries)) for entries in (1000, SIZE + 2))
    assert len(small) == SIZE + 2 < len(whole)
    assert small.score(after(0, 1), 2) > small.score(0, 2)
    assert small.score(after(0, 3), 4) == small.score(0, 4)


def test_a_table_too_small_for_the_units_is_refused():
    with pytest.raises(FobenchError, match="7 n-grams is too small for 8"):
        learn([[1]], SIZE, SIZE - 1)
    with pytest.raises(FobenchError, match="more than 4,094"):
        learn([[1]], LARGEST + 2, 10**6)


@given(st.lists(st.integers(0, LARGEST), min_size=1, max_size=ORDER))
def test_numbers_stand_for_n_grams(units):
    grams = torch.tensor([[PAD] * (ORDER - len(units)) + units])
    key = packed(grams)
    assert torch.equal(unpacked(key).long(), grams)
    assert shorter(int(key)) == int(packed(torch.tensor([[PAD] * (ORDER - len(units) + 1) + units[1:]])))


def test_a_full_context_drops_the_oldest_turns():
    assert context(1, 2, 3, 4, 5) == context(7, 7, 2, 3, 4, 5)
    assert context(3, 4, 5) != context(2, 3, 4, 5)
