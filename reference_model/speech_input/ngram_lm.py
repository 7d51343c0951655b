"""A small back-off n-gram language model of BPE units, trained by `reference_model.train.speech_input.ngram_lm_training`.

A table with back-off weights, as in ARPA files: the probability of a unit after a context that the table lacks is that after a
shorter context, times the longer context's weight (Katz 1987).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ORDER = 5  # maximum units of an n-gram
START = 0  # start of text; the id of CTC's blank, which no text contains
PAD = -1  # left padding of shorter n-grams
BITS = 12  # of a unit in an n-gram packed into an integer
LARGEST = 2**BITS - 2  # maximum unit id
RECENT = (1 << BITS * (ORDER - 1)) - 1  # bit mask of a context
BEGINNING = START + 1  # the context of a text's first unit
UNKNOWN = -20.0  # log-probability of a unit that the table lacks


class NGramLM:
    """N-grams packed into integers, each with its log-probability and its log back-off weight.

    A context is a packed integer, too: `BEGINNING`, then `after`.
    """

    def __init__(self, log_probabilities: dict[int, float], weights: dict[int, float]) -> None:
        self.log_probabilities, self.weights = log_probabilities, weights
        self.highest = max(log_probabilities.values(), default=UNKNOWN)  # log-probability without back-off

    @classmethod
    def of(cls, grams: Tensor, scores: Tensor) -> NGramLM:
        """From a table: `grams` int16 [N, ORDER], `scores` [N, 2]: log-probability and log back-off weight."""
        keys = packed(grams.cpu().long()).tolist()
        log_probabilities, weights = scores.detach().cpu().double().unbind(-1)
        backoffs = {key: weight for key, weight in zip(keys, weights.tolist(), strict=True) if weight}
        return cls(dict(zip(keys, log_probabilities.tolist(), strict=True)), backoffs)

    def __len__(self) -> int:
        return len(self.log_probabilities)

    def score(self, context: int, unit: int) -> float:
        """The log-probability of `unit` after `context`."""
        return self.score_after(self.backoffs(context), unit)

    def backoffs(self, context: int) -> list[tuple[int, float]]:
        """The context and all shorter ones, each shifted by a unit, with the sum of the back-off weights that lead to it."""
        total, steps = 0.0, [(context << BITS, 0.0)]
        while context:
            total += self.weights.get(context, 0.0)
            context = shorter(context)
            steps.append((context << BITS, total))
        return steps

    def score_after(self, backoffs: Sequence[tuple[int, float]], unit: int) -> float:
        """`score`, after the context with these `backoffs`."""
        known = self.log_probabilities
        for shifted, total in backoffs:
            found = known.get(shifted | unit + 1)
            if found is not None:
                return total + found
        return backoffs[-1][1] + UNKNOWN


def after(context: int, unit: int) -> int:
    """The context after a further unit."""
    return (context << BITS | unit + 1) & RECENT


def shorter(context: int) -> int:
    """The context without its oldest unit."""
    return context & (1 << (context.bit_length() - 1) // BITS * BITS) - 1


def packed(grams: Tensor) -> Tensor:
    """N-grams int64 [N, ORDER], padded with `PAD`, packed into integers [N]."""
    keys = torch.zeros_like(grams[:, 0])
    for column in grams.unbind(-1):
        keys = keys << BITS | column + 1
    return keys


def unpacked(keys: Tensor) -> Tensor:
    """The inverse of `packed`: [N] -> int16 [N, ORDER]."""
    shifts = torch.arange(ORDER - 1, -1, -1) * BITS
    return ((keys[:, None] >> shifts & LARGEST + 1) - 1).to(torch.int16)
