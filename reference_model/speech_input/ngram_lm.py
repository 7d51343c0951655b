"""A small n-gram model of what is spelt: which unit of writing follows which. `reference_model.train.speech_input.ngram_lm_training` learns one from texts.

A table with back-off weights, as ARPA files are: the chance of a unit after a context that the table lacks is that after a shorter
context, times the longer one's weight (Katz 1987).
"""

from __future__ import annotations

import torch
from torch import Tensor

ORDER = 5  # units of an n-gram, at most
START = 0  # stands before a text; CTC's blank, and so no unit of writing
PAD = -1  # fills shorter n-grams up, on the left
BITS = 12  # of a unit in a number that stands for an n-gram
LARGEST = 2**BITS - 2  # id of a unit
RECENT = (1 << BITS * (ORDER - 1)) - 1  # the units of a context in such a number
BEGINNING = START + 1  # the context of a text's first unit
UNKNOWN = -20.0  # natural log of the chance of a unit that a table lacks: one without weights


class NGramLM:
    """N-grams as numbers: of each the natural logs of its last unit's chance, and of its weight as a context.

    A context is a number, too: it begins as `BEGINNING`, and goes on with `after`.
    """

    def __init__(self, chances: dict[int, float], weights: dict[int, float]) -> None:
        self.chances, self.weights = chances, weights

    @classmethod
    def of(cls, grams: Tensor, scores: Tensor) -> NGramLM:
        """From a table: `grams` int16 [N, ORDER], `scores` [N, 2] of each its chance and its weight."""
        keys = packed(grams.cpu().long()).tolist()
        chances, weights = scores.detach().cpu().double().unbind(-1)
        weighty = {key: weight for key, weight in zip(keys, weights.tolist(), strict=True) if weight}
        return cls(dict(zip(keys, chances.tolist(), strict=True)), weighty)

    def __len__(self) -> int:
        return len(self.chances)

    def score(self, context: int, unit: int) -> float:
        """Natural log of the chance that `unit` is next."""
        total = 0.0
        while (found := self.chances.get(context << BITS | unit + 1)) is None:
            if not context:
                return total + UNKNOWN
            total += self.weights.get(context, 0.0)
            context = shorter(context)
        return total + found


def after(context: int, unit: int) -> int:
    """The context that a unit leads to."""
    return (context << BITS | unit + 1) & RECENT


def shorter(context: int) -> int:
    """Without the oldest of its units."""
    return context & (1 << (context.bit_length() - 1) // BITS * BITS) - 1


def packed(grams: Tensor) -> Tensor:
    """N-grams int64 [N, ORDER], filled up with `PAD`, as numbers [N]."""
    keys = torch.zeros_like(grams[:, 0])
    for column in grams.unbind(-1):
        keys = keys << BITS | column + 1
    return keys


def unpacked(keys: Tensor) -> Tensor:
    """The inverse of `packed`, as int16."""
    shifts = torch.arange(ORDER - 1, -1, -1) * BITS
    return ((keys[:, None] >> shifts & LARGEST + 1) - 1).to(torch.int16)
