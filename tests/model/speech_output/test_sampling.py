"""Sampling distributions and penalties, against the published ones and by hand."""

import pytest
import torch

from reference_model.speech_output.sampling import Sampling
from tests.support.golden_data import golden, meta

G = golden("sampling")


@pytest.mark.parametrize("index", range(7))
def test_the_llms_distribution_is_the_published_one(index):
    temperature, top_k, top_p = meta("sampling")["settings"][index]
    sampling = Sampling(temperature, int(top_k), top_p, keep_crossing=False)
    expected = G[f"out/llm_probs_setting{index}"]
    assert torch.allclose(sampling.probabilities(G["in/logits"]), expected, atol=1e-6)


@pytest.mark.parametrize("window", [-1, 4, 20])
def test_the_speech_decoders_penalty_is_the_published_one(window):
    sampling = Sampling(top_k=5, penalty=1.1, window=max(window, 0), per_occurrence=True)
    for row, (logits, history) in enumerate(zip(G["in/dec_logits"], G["in/dec_history"], strict=True)):
        penalized = sampling.penalized(logits, history.tolist()) if window > 0 else logits
        expected = G[f"out/dec_probs_top5_penalty_window{window}"][row]
        assert torch.allclose(sampling.probabilities(penalized), expected, atol=1e-6)


def test_the_usual_nucleus_keeps_the_token_that_crosses():
    logits = torch.tensor([0.5, 0.3, 0.2]).log()
    assert (Sampling(top_p=0.6).probabilities(logits) > 0).tolist() == [True, True, False]
    assert (Sampling(top_p=0.6, keep_crossing=False).probabilities(logits) > 0).tolist() == [True, False, False]


def test_a_penalty_makes_a_token_less_likely_whatever_its_sign():
    sampling = Sampling(penalty=2.0, window=3)
    assert sampling.penalized(torch.tensor([4.0, -4.0, 1.0]), [0, 1, 0]).tolist() == [2.0, -8.0, 1.0]


@pytest.mark.parametrize("sampling", [Sampling(top_k=2), Sampling(top_k=5, top_p=0.8), Sampling(), Sampling(top_k=1)])
def test_rows_are_drawn_as_if_one_after_another(sampling):
    """The codebooks of a frame have one generator."""
    for seed in range(20):
        logits = torch.randn(3, 40, generator=torch.Generator().manual_seed(seed))
        one, other = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
        assert sampling.sample_rows(logits, one) == [sampling.sample(row, other) for row in logits]
        assert torch.equal(one.get_state(), other.get_state())


def test_a_seed_draws_the_same_and_in_proportion():
    logits = torch.tensor([0.75, 0.25]).log()
    drawn = [Sampling().sample(logits, torch.Generator().manual_seed(seed)) for seed in range(400)]
    assert drawn == [Sampling().sample(logits, torch.Generator().manual_seed(seed)) for seed in range(400)]
    assert 60 < sum(drawn) < 140


@pytest.mark.parametrize("sampling", [Sampling(temperature=0.0), Sampling(top_k=1)])
def test_greedy_takes_the_likeliest(sampling):
    assert sampling.sample(torch.tensor([0.1, 3.0, 2.9]), torch.Generator()) == 1
