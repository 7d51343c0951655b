"""The state head's loss and its decisions."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from reference_model.train.turn_taking.head_features import HeadFeatures
from reference_model.train.turn_taking.head_training import decisions_of, state_loss
from reference_model.train.turn_taking.vad_turns import UNLABELLED
from reference_model.turn_taking.state_head import StateHead


@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_to_listen_counts_by_its_weight_and_padding_not_at_all(weight):
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 4, 4), torch.tensor([[0, 0, 1, 2], [0, 1, UNLABELLED, UNLABELLED]])
    found = state_loss(logits, labels, weight)
    each = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=UNLABELLED, reduction="none")
    listening = labels.flatten() == 0
    assert float(found["loss"]) == pytest.approx(
        float(weight * each[listening].sum() + each[~listening].sum()), rel=1e-5
    )
    assert float(found["count"]) == 6


def test_decisions_are_made_without_dropout_and_training_goes_on():
    torch.manual_seed(0)
    head, turn = StateHead(6, middle=8, memory=8).train(), torch.randn(9, 6) * 3
    torch.nn.init.normal_(head.linear.weight, std=3.0)
    one = HeadFeatures("question", 1, turn, torch.zeros(9, dtype=torch.long), torch.arange(9) / 6 - 1)
    found = {decisions_of(head, [one])[0] for _ in range(20)}
    assert len(found) == 1 and head.training
