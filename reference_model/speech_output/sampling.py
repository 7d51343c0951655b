"""Sampling of tokens from logits, for the LLM's text and for the speech decoder's codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Sampling:
    """Parameters of sampling. Greedy at `temperature` 0 or `top_k` 1."""

    temperature: float = 1.0
    top_k: int = 0  # keep the k most probable tokens; 0: all
    top_p: float = 0.0  # keep the most probable tokens that together reach p (nucleus sampling); 0: all
    keep_crossing: bool = True  # whether the token that crosses top_p is kept, as usual; published: it is not
    penalty: float = 1.0  # divides the logits of recent tokens
    window: int = 0  # number of recent tokens that are penalized; 0: none
    per_occurrence: bool = False  # published: divided once per occurrence, negative logits too (which raises them)

    @property
    def greedy(self) -> bool:
        return self.temperature == 0 or self.top_k == 1

    @property
    def penalizes(self) -> bool:
        """Whether `sample` needs the tokens so far."""
        return self.window > 0 and self.penalty != 1

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits [..., V] -> the distribution [..., V] that is sampled. Every filter renormalizes."""
        p = torch.softmax(logits if self.temperature in (0, 1) else logits / self.temperature, -1)
        if 0 < self.top_k < p.shape[-1]:
            kept = torch.zeros_like(p).scatter(-1, p.topk(self.top_k, -1).indices, 1.0)
            p = _renormalized(p * kept)
        if 0 < self.top_p < 1 or (self.top_p == 1 and not self.keep_crossing):
            p = _renormalized(p * self._nucleus(p))
        return p

    def sample(self, logits: torch.Tensor, generator: torch.Generator, history: Sequence[int] = ()) -> int:
        """A token id from logits [V]; `history`: the tokens so far. Sampled on the CPU in float64, so that a seed is portable."""
        if self.penalizes:
            logits = self.penalized(logits, history)
        return self.sample_rows(logits[None], generator)[0]

    def sample_rows(self, logits: torch.Tensor, generator: torch.Generator) -> list[int]:
        """A token id of each row of logits [R, V], as by `sample` row after row; penalties must have been applied."""
        if self.greedy:
            return [int(token) for token in logits.argmax(-1)]
        size = logits.shape[-1]
        top = logits.topk(min(self.top_k or size, size))  # first: the other filters are slow on a large vocabulary
        drawn = torch.multinomial(self.probabilities(top.values.double().cpu()), 1, generator=generator)
        return [int(token) for token in top.indices.cpu().gather(-1, drawn)]

    def penalized(self, logits: torch.Tensor, history: Sequence[int]) -> torch.Tensor:
        """Logits [V] with the last `window` tokens of `history` penalized."""
        recent, logits = history[-self.window :], logits.clone()
        for token in recent if self.per_occurrence else set(recent):
            up = logits[token] < 0 and not self.per_occurrence
            logits[token] = logits[token] * self.penalty if up else logits[token] / self.penalty
        return logits

    def _nucleus(self, p: torch.Tensor) -> torch.Tensor:
        """[..., V] bool: the tokens that top_p keeps; the most probable one always."""
        ordered, order = p.sort(-1, descending=True)
        total = ordered.cumsum(-1)
        kept = total - ordered < self.top_p if self.keep_crossing else total <= self.top_p
        kept[..., 0] = True
        return torch.zeros_like(kept).scatter(-1, order, kept)


def without_repeats(logits: torch.Tensor, reply: Sequence[int], length: int) -> torch.Tensor:
    """Logits [V] in which the tokens that would repeat `length` tokens in a row of the `reply` so far are excluded.

    Greedy decoding of a small LLM otherwise loops ("The answer is: The answer is: ..."). With `length` 0 nothing is excluded.
    """
    start = len(reply) - length + 1
    if not length or start < 1:
        return logits
    last = [*reply[start:]]
    repeated = [reply[i + length - 1] for i in range(start) if [*reply[i : i + length - 1]] == last]
    if not repeated:
        return logits
    logits = logits.clone()
    logits[repeated] = -torch.inf
    return logits


def generator(*numbers: int) -> torch.Generator:
    """A CPU generator seeded by these integers alone, e.g. seed, reply and segment."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 1) % 2**63
    return torch.Generator().manual_seed(seed)


def _renormalized(p: torch.Tensor) -> torch.Tensor:
    return p / p.sum(-1, keepdim=True)
