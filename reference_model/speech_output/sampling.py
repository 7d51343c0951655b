"""Drawing a token from logits, for the LLM's text and for the speech decoder's codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. Greedy where `temperature` is 0 or `top_k` is 1."""

    temperature: float = 1.0
    top_k: int = 0  # keep the k likeliest; 0: all
    top_p: float = 0.0  # keep the likeliest that together reach p; 0: all
    keep_crossing: bool = True  # the token that crosses top_p stays, as is usual; published: it goes
    penalty: float = 1.0  # divides the logits of recent tokens
    window: int = 0  # how many recent tokens are penalised; 0: none
    per_occurrence: bool = False  # published: divided once an occurrence, negative logits too (which raises them)

    @property
    def greedy(self) -> bool:
        return self.temperature == 0 or self.top_k == 1

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits [..., V] -> the distribution [..., V] that is drawn from. Every filter renormalises."""
        p = torch.softmax(logits if self.temperature in (0, 1) else logits / self.temperature, -1)
        if 0 < self.top_k < p.shape[-1]:
            kept = torch.zeros_like(p).scatter(-1, p.topk(self.top_k, -1).indices, 1.0)
            p = _renormalised(p * kept)
        if 0 < self.top_p < 1 or (self.top_p == 1 and not self.keep_crossing):
            p = _renormalised(p * self._nucleus(p))
        return p

    def sample(self, logits: torch.Tensor, generator: torch.Generator, history: Sequence[int] = ()) -> int:
        """A token from logits [V]. Drawn on the CPU in float64, so that a seed means the same on every device."""
        if self.window and self.penalty != 1:
            logits = self.penalised(logits, history)
        if self.greedy:
            return int(logits.argmax())
        likeliest = logits.topk(
            min(self.top_k or len(logits), len(logits))
        )  # first, since the other filters are slow on a large vocabulary
        chosen = torch.multinomial(self.probabilities(likeliest.values.double().cpu()), 1, generator=generator)
        return int(likeliest.indices[chosen])

    def penalised(self, logits: torch.Tensor, history: Sequence[int]) -> torch.Tensor:
        """Logits [V] with the last `window` tokens of `history` made less likely."""
        recent, logits = history[-self.window :], logits.clone()
        for token in recent if self.per_occurrence else set(recent):
            up = logits[token] < 0 and not self.per_occurrence
            logits[token] = logits[token] * self.penalty if up else logits[token] / self.penalty
        return logits

    def _nucleus(self, p: torch.Tensor) -> torch.Tensor:
        """[..., V] bool: which tokens top_p keeps; the likeliest always."""
        ordered, order = p.sort(-1, descending=True)
        total = ordered.cumsum(-1)
        kept = total - ordered < self.top_p if self.keep_crossing else total <= self.top_p
        kept[..., 0] = True
        return torch.zeros_like(kept).scatter(-1, order, kept)


def generator(*numbers: int) -> torch.Generator:
    """A generator on the CPU whose draws depend on these whole numbers alone, e.g. on seed, reply and segment."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 1) % 2**63
    return torch.Generator().manual_seed(seed)


def _renormalised(p: torch.Tensor) -> torch.Tensor:
    return p / p.sum(-1, keepdim=True)
