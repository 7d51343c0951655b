"""The state head: the published numbers, and the decision by probabilities."""

from __future__ import annotations

import json

import pytest
import torch

from reference_model.turn_taking.state_head import StateHead, TurnState
from tests.support.golden_data import FOLDER, golden, weights


def test_the_published_probabilities():
    head, numbers = StateHead(64), golden("dialogue")
    head.linear.load_state_dict(weights("dialogue", "predictor_head."))
    calls = [call["label"] for call in json.loads((FOLDER / "dialogue.json").read_text())["layout"]["calls"]]
    heard = [label for label in calls if "listen" in label]
    hidden = torch.stack([numbers[f"out/{label}/last_hidden"].reshape(-1, 64)[-1] for label in heard])
    with torch.no_grad():
        torch.testing.assert_close(head(hidden), numbers["out/listen_state_logits_last"], atol=5e-5, rtol=0)
        torch.testing.assert_close(
            head.probabilities(hidden), numbers["out/listen_state_probs3_last"], atol=5e-5, rtol=0
        )


@pytest.mark.parametrize(
    ("p", "state"),
    [
        ((0.6, 0.3, 0.1), TurnState.KEEP_LISTENING),
        ((0.2, 0.7, 0.1), TurnState.ANSWER),
        ((0.2, 0.1, 0.7), TurnState.IGNORE),
        ((0.4, 0.3, 0.3), TurnState.KEEP_LISTENING),
        ((0.0, 0.5, 0.5), TurnState.KEEP_LISTENING),
    ],
)
def test_decisions(p, state):
    assert StateHead.decide(torch.tensor(p)) is state


def test_to_ignore_is_checked_first():
    assert StateHead.decide(torch.tensor([0.1, 0.5, 0.4]), threshold=0.3) is TurnState.IGNORE


def test_the_fourth_class_has_no_say():
    head = StateHead(4)
    hidden = torch.randn(2, 3, 4)
    before = head.probabilities(hidden)
    with torch.no_grad():
        head.linear.bias[3] += 100.0
    assert torch.equal(before, head.probabilities(hidden))
    assert before.shape == (2, 3, 3)


def test_the_state_head_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in StateHead(3584).parameters()) == 14_340


def test_a_memory_fed_chunk_by_chunk_gives_what_the_whole_turn_gives():
    torch.manual_seed(0)
    head, inputs = StateHead(6, middle=5, memory=4).eval(), torch.randn(7, 6)
    with torch.no_grad():
        whole, memory, each = head.probabilities(inputs), None, []
        for one in inputs:
            p, memory = head.step(one, memory)
            each.append(p)
        torch.testing.assert_close(torch.stack(each), whole)
        torch.testing.assert_close(head.probabilities(torch.stack([inputs, inputs]))[1], whole)
        assert not torch.allclose(head.step(inputs[-1], None)[0], whole[-1])  # what was before counts


def test_a_head_without_memory_judges_every_chunk_alone():
    head, inputs = StateHead(6, middle=5).eval(), torch.randn(3, 6)
    p, memory = head.step(inputs[2], None)
    assert memory is None
    torch.testing.assert_close(p, head.probabilities(inputs)[2])
