"""The state head: a classifier of the turn state, run after every chunk (paper: duplex dialogue)."""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import nn
from torch.nn import functional

DROPOUT = (0.4, 0.2)  # of a head with a memory, in training: of its inputs, and before the last layer


class TurnState(IntEnum):
    """The state of the user's turn; the values are the head's classes. Class 3 marks padding in training."""

    KEEP_LISTENING = 0
    ANSWER = 1  # end of speech, with an answer
    IGNORE = 2  # end of speech, without an answer


class StateHead(nn.Module):
    """A linear layer over its inputs: in the paper the LLM's last hidden state; a checkpoint may choose others (`head_inputs`).

    `size`: of the input, N; `middle`: units of a hidden layer, 0 for none; `memory`: units of a recurrent layer (GRU) that
    remembers the turn's earlier chunks, 0 for none.
    """

    def __init__(self, size: int, middle: int = 0, memory: int = 0) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(size, middle), nn.GELU()) if middle else nn.Identity()
        self.memory = nn.GRU(middle or size, memory, batch_first=True) if memory else None
        self.linear = nn.Linear((middle or size) + memory, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Inputs [..., N] -> logits [..., 4], for the training loss. With a memory: [T, N] or [B, T, N], each of one turn."""
        return self._logits(inputs, None)[0]

    def probabilities(self, inputs: torch.Tensor) -> torch.Tensor:
        """Inputs [..., N] -> probabilities [..., 3] of the states, float32. With a memory as `forward`."""
        return self.forward(inputs)[..., :3].float().softmax(-1)

    def step(self, inputs: torch.Tensor, memory: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Inputs [N] of a turn's next chunk, and what is remembered (None: it is the first) -> (probabilities [3], memory)."""
        logits, memory = self._logits(inputs[None], memory)
        return logits[0, :3].float().softmax(-1), memory

    def _logits(self, inputs: torch.Tensor, memory: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        inputs = inputs.to(self.linear.weight.dtype)
        if self.memory is None:
            return self.linear(self.first(inputs)), None
        hidden = self.first(functional.dropout(inputs, DROPOUT[0], self.training))
        remembered, memory = self.memory(hidden, memory)
        last = functional.dropout(torch.cat([hidden, remembered], -1), DROPOUT[1], self.training)
        return self.linear(last), memory

    @staticmethod
    def decide(p: torch.Tensor, threshold: float = 0.5) -> TurnState:
        """The predicted state by probabilities [3]: the first of IGNORE and ANSWER above the threshold, else KEEP_LISTENING."""
        _, answer, ignore = p.tolist()
        if ignore > threshold:
            return TurnState.IGNORE
        return TurnState.ANSWER if answer > threshold else TurnState.KEEP_LISTENING
