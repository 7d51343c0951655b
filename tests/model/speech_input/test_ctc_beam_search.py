"""CTC beam search: exact sums without pruning, and the language model where the acoustic scores are equal."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_model.speech_input.bpe_units import BLANK, collapsed
from reference_model.speech_input.ctc_beam_search import (
    N_BEST,
    BeamSearch,
    CTCPrefixBeam,
    ctc_log_probabilities,
    rescore_jointly,
)
from reference_model.speech_input.ngram_lm import BEGINNING, NGramLM, after
from reference_model.train.speech_input.ngram_lm_training import learn

SIZE = 4
LM = NGramLM.of(*learn([[1, 2]] * 8 + [[3, 1]] * 4, SIZE, 100))
SOUND_ALONE = BeamSearch(lm_entries=len(LM), width=1000, units=SIZE, floor=-math.inf, lm_weight=0.0, unit_bonus=0.0)
USUAL = BeamSearch(lm_entries=len(LM))


def frames(draws):
    """Log probabilities [n, SIZE] from any numbers."""
    return torch.tensor(draws, dtype=torch.float64).reshape(-1, SIZE).log_softmax(-1)


LATTICES = st.lists(st.lists(st.floats(-4, 4), min_size=SIZE, max_size=SIZE), min_size=1, max_size=5).map(frames)
LONG = st.lists(st.lists(st.floats(-9, 9), min_size=SIZE, max_size=SIZE), min_size=1, max_size=30).map(frames)


def alignments(log_p):
    """The chance of every reading, by adding up all alignments."""
    found = defaultdict(float)
    for path in product(range(SIZE), repeat=len(log_p)):
        found[tuple(collapsed(path))] += math.exp(sum(float(row[unit]) for row, unit in zip(log_p, path, strict=True)))
    return found


def worth(search, units):
    """What the language model and the bonus add to a reading."""
    score, context = 0.0, BEGINNING
    for unit in units:
        score += search.lm_weight * LM.score(context, unit) + search.unit_bonus
        context = after(context, unit)
    return score


def searched(log_p, search, *sizes):
    beam = CTCPrefixBeam(search, LM)
    for part in log_p.split(list(sizes) or len(log_p)):
        beam.push(part)
    return beam


@settings(max_examples=60, deadline=None)
@given(LATTICES)
def test_the_acoustic_score_is_the_sum_over_alignments(log_p):
    beam, wanted = searched(log_p, SOUND_ALONE), alignments(log_p)
    for guess in beam.hypotheses:
        assert math.exp(guess.acoustic) == pytest.approx(wanted[guess.units], rel=1e-9)
    assert wanted.keys() == {guess.units for guess in beam.hypotheses if guess.acoustic > -math.inf}
    assert wanted[tuple(beam.best)] == pytest.approx(max(wanted.values()), rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(LATTICES, st.floats(0, 2), st.floats(-1, 3))
def test_the_best_hypothesis_is_by_acoustic_and_language_model(log_p, lm_weight, unit_bonus):
    search = replace(SOUND_ALONE, lm_weight=lm_weight, unit_bonus=unit_bonus)
    scores = {reading: math.log(p) + worth(search, reading) for reading, p in alignments(log_p).items()}
    assert scores[tuple(searched(log_p, search).best)] == pytest.approx(max(scores.values()), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(LATTICES, st.integers(1, 6))
def test_a_narrow_beam_never_hears_more_than_there_is(log_p, width):
    """What is pruned is lost: no reading's sum can be too large."""
    wanted = alignments(log_p)
    beam = searched(log_p, replace(USUAL, width=width))
    assert len(beam.hypotheses) <= width
    assert all(math.exp(guess.acoustic) <= wanted[guess.units] * (1 + 1e-9) for guess in beam.hypotheses)


@settings(max_examples=40, deadline=None)
@given(LONG, st.data())
def test_a_streamed_search_equals_one_over_the_whole(log_p, data):
    cut = data.draw(st.integers(0, len(log_p)))
    streamed, whole = searched(log_p, USUAL, cut, len(log_p) - cut), searched(log_p, USUAL)
    assert contents(streamed) == contents(whole)


@settings(max_examples=60, deadline=None)
@given(LONG, st.integers(1, 6), st.floats(0.01, 2), st.floats(-1, 3))
def test_extensions_left_out_early_would_not_have_stayed_in_the_beam(log_p, width, lm_weight, unit_bonus):
    """Every extension of every hypothesis, sorted, and the best ones kept, is the same beam."""
    search = replace(USUAL, width=width, lm_weight=lm_weight, unit_bonus=unit_bonus)
    beam, everything = CTCPrefixBeam(search, LM), CTCPrefixBeam(search, LM)
    everything.lm = NGramLM(LM.log_probabilities, LM.weights)
    everything.lm.highest = 1e9  # as if any extension could still be the best
    beam.push(log_p)
    everything.push(log_p)
    assert contents(beam) == contents(everything)


@settings(max_examples=20, deadline=None)
@given(LONG, LONG)
def test_a_search_that_is_there_already_is_not_done_again(one, other):
    beam = searched(other[: len(one)], USUAL)
    one = one[: len(other)]
    expected = rescore_jointly((one, other[: len(one)]), (0.5, 0.5), USUAL, LM)
    assert rescore_jointly((one, other[: len(one)]), (0.5, 0.5), USUAL, LM, beam) == expected
    stale = searched(other[:1], USUAL)  # of fewer frames: not used
    if len(one) > 1:
        assert rescore_jointly((one, other[: len(one)]), (0.5, 0.5), USUAL, LM, stale) == expected


def contents(beam):
    return [(guess.units, guess.blank, guess.unit, guess.score) for guess in beam.hypotheses]


def test_language_decides_between_what_sounds_alike():
    """1, then 2 or 3 about as likely: greedily 3, but after 1 there has been only 2."""
    first, second = [0.02, 0.94, 0.02, 0.02], [0.02, 0.02, 0.44, 0.52]
    log_p = torch.tensor([first, second]).log()
    assert searched(log_p, replace(USUAL, lm_weight=0.0)).best == [1, 3]
    assert searched(log_p, replace(USUAL, lm_weight=0.5)).best == [1, 2]


def test_the_unit_bonus_makes_hypotheses_longer():
    log_p = torch.tensor([[0.55, 0.45, 0.0, 0.0]]).log()
    assert searched(log_p, replace(USUAL, lm_weight=0.0, unit_bonus=0.0)).best == []
    assert searched(log_p, replace(USUAL, lm_weight=0.0, unit_bonus=1.0)).best == [1]


def test_alignments_together_may_outweigh_the_best_one():
    """Blank is the best unit of both frames, yet 1 was said in one or the other, or in both, more likely than not."""
    log_p = torch.tensor([[0.6, 0.4, 0.0, 0.0]] * 2).log()
    assert collapsed(log_p.argmax(-1).tolist()) == []
    assert searched(log_p, SOUND_ALONE).best == [1]


def test_the_same_unit_twice_needs_a_blank_between():
    certain = torch.full((5, SIZE), 1e-9)
    for row, unit in zip(certain, (1, 1, BLANK, 1, 1), strict=True):
        row[unit] = 1.0
    assert searched(certain.log(), USUAL).best == [1, 1]
    assert searched(certain[[0, 1, 3, 4]].log(), USUAL).best == [1]


def test_blanks_alone_give_no_units():
    beam = CTCPrefixBeam(USUAL, LM)
    assert beam.best == []
    beam.push(torch.zeros(0, SIZE))
    assert beam.best == []
    beam.push(torch.tensor([[0.0, -30.0, -30.0, -30.0]] * 50))
    assert beam.best == []


@settings(max_examples=30, deadline=None)
@given(LATTICES, st.lists(st.lists(st.integers(1, SIZE - 1), max_size=3), min_size=1, max_size=4))
def test_a_ctc_log_probability_is_the_sum_over_alignments(log_p, readings):
    found, wanted = ctc_log_probabilities(log_p, readings).exp(), alignments(log_p)
    assert found.tolist() == pytest.approx([wanted[tuple(reading)] for reading in readings], abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(LATTICES, LATTICES)
def test_joint_rescoring_picks_the_best_of_all_n_best_lists_by_all_recognizers(one, other):
    found = rescore_jointly((one, other), (0.5, 0.5), SOUND_ALONE, LM)
    worths = {
        reading: sum(ctc_log_probabilities(log_p, [reading])[0] / 2 for log_p in (one, other))
        for reading in product_of(3)
    }
    seen = {reading for log_p in (one, other) for reading in likely(log_p)}
    best = max(float(worths[reading]) for reading in seen if len(reading) <= 3 and reading in worths)
    assert len(found) > 3 or float(worths[tuple(found)]) == pytest.approx(best, abs=1e-4) or best == -math.inf


def product_of(most):
    return [reading for n in range(most + 1) for reading in product(range(1, SIZE), repeat=n)]


def likely(log_p):
    return [guess.units for guess in searched(log_p, SOUND_ALONE).n_best(N_BEST)]


def test_a_second_recognizer_decides_where_the_first_is_undecided():
    torn = frames([[0, 9, 9, 0]])
    sure = [frames([[0, 9, 0, 0]]), frames([[0, 0, 9, 0]])]
    assert [rescore_jointly((torn, one), (0.5, 0.5), SOUND_ALONE, LM) for one in sure] == [[1], [2]]
    assert rescore_jointly((sure[0], sure[1]), (0.9, 0.1), SOUND_ALONE, LM) == [1]
    assert rescore_jointly((sure[0], sure[1]), (0.0, 1.0), SOUND_ALONE, LM) == [2]
