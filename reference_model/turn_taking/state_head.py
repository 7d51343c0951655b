"""The state head: a classifier of the turn state, run after every chunk (paper: duplex dialogue)."""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import nn


class TurnState(IntEnum):
    """The state of the user's turn; the values are the head's classes. Class 3 marks padding in training."""

    KEEP_LISTENING = 0
    ANSWER = 1  # end of speech, with an answer
    IGNORE = 2  # end of speech, without an answer


class StateHead(nn.Module):
    """A linear layer over its inputs: in the paper the LLM's last hidden state; a checkpoint may choose others (`head_inputs`).

    `size`: of the input, N; `middle`: units of a hidden layer, 0 for none.
    """

    def __init__(self, size: int, middle: int = 0) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(size, middle), nn.GELU()) if middle else nn.Identity()
        self.linear = nn.Linear(middle or size, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Inputs [..., N] -> logits [..., 4], for the training loss."""
        logits: torch.Tensor = self.linear(self.first(inputs.to(self.linear.weight.dtype)))
        return logits

    def probabilities(self, inputs: torch.Tensor) -> torch.Tensor:
        """Inputs [..., N] -> probabilities [..., 3] of the states, float32."""
        return self.forward(inputs)[..., :3].float().softmax(-1)

    @staticmethod
    def decide(p: torch.Tensor, threshold: float = 0.5) -> TurnState:
        """The predicted state by probabilities [3]: the first of IGNORE and ANSWER above the threshold, else KEEP_LISTENING."""
        _, answer, ignore = p.tolist()
        if ignore > threshold:
            return TurnState.IGNORE
        return TurnState.ANSWER if answer > threshold else TurnState.KEEP_LISTENING
