"""The state head: after every chunk, what to do about the user (paper: duplex dialogue)."""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import nn


class TurnState(IntEnum):
    """What the user's turn calls for; the values are the head's classes. Class 3 marks padding in training."""

    KEEP_LISTENING = 0
    ANSWER = 1  # it is over and wants an answer, at once
    IGNORE = 2  # it is over and wants none


class StateHead(nn.Module):
    """A linear layer over the LLM's last hidden state (paper), and over what the adapter tells of the sound if it tells anything.

    `middle`: units of a layer between, for what cannot be told apart by a plane.
    """

    def __init__(self, llm_size: int, evidence: int = 0, middle: int = 0) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(llm_size + evidence, middle), nn.GELU()) if middle else nn.Identity()
        self.linear = nn.Linear(middle or llm_size + evidence, 4)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states and evidence [..., D + E] -> logits [..., 4], for the training loss."""
        logits: torch.Tensor = self.linear(self.first(hidden.to(self.linear.weight.dtype)))
        return logits

    def probabilities(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states and evidence [..., D + E] -> probabilities [..., 3] of the states, float32."""
        return self.forward(hidden)[..., :3].float().softmax(-1)

    @staticmethod
    def decide(p: torch.Tensor, threshold: float = 0.5) -> TurnState:
        """The state that probabilities [3] call for: the first of ignore and answer above the threshold, else to listen."""
        _, answer, ignore = p.tolist()
        if ignore > threshold:
            return TurnState.IGNORE
        return TurnState.ANSWER if answer > threshold else TurnState.KEEP_LISTENING
