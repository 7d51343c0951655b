"""CTC prefix beam search (arXiv 1408.2873), frame by frame, with an n-gram language model of the units.

`rescore_jointly` combines the outputs of several recognizers for the same audio.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch.nn import functional

from reference_model.speech_input.bpe_units import BLANK
from reference_model.speech_input.ngram_lm import BEGINNING, NGramLM, after

NEVER = -math.inf
N_BEST = 12  # hypotheses of each recognizer in joint rescoring


@dataclass(frozen=True, slots=True)
class BeamSearch:
    """Parameters of the search. A frame's units are pruned to the `units` best above `floor`."""

    lm_entries: int  # size of the language model's table
    width: int = 32  # hypotheses kept
    units: int = 8
    floor: float = -7.0  # log-probability
    lm_weight: float = 0.6
    unit_bonus: float = 2.0  # per unit, added to the score: against the language model's preference for short texts


class LMState(NamedTuple):
    """The language-model score of a hypothesis, and its context at the end."""

    score: float
    context: int


@dataclass(slots=True)
class Hypothesis:
    """A hypothesis: the log-probabilities of its paths that end in blank and in its last unit, and its language-model state."""

    lm: LMState
    blank: float = NEVER
    unit: float = NEVER

    @property
    def acoustic(self) -> float:
        """Log-probability by the CTC outputs."""
        return _plus(self.blank, self.unit)

    @property
    def score(self) -> float:
        """Acoustic and language-model score."""
        return self.acoustic + self.lm.score


def _empty() -> dict[tuple[int, ...], Hypothesis]:
    return {(): Hypothesis(LMState(0.0, BEGINNING), blank=0.0)}


@dataclass(slots=True)
class CTCPrefixBeam:
    """The beam of one user turn. `push` advances it; `best` is the best hypothesis so far."""

    search: BeamSearch
    lm: NGramLM
    hypotheses: dict[tuple[int, ...], Hypothesis] = field(default_factory=_empty)

    def push(self, log_p: torch.Tensor) -> None:
        """Advance by n frames of log-probabilities [n, U]."""
        units = torch.cat([log_p[:, :BLANK], log_p[:, BLANK + 1 :]], 1)
        best, at = units.topk(min(self.search.units, units.shape[1]), -1)
        for scores, ids, blank in zip(best.tolist(), at.tolist(), log_p[:, BLANK].tolist(), strict=True):
            units_p = {i + (i >= BLANK): p for i, p in zip(ids, scores, strict=True) if p > self.search.floor}
            self._frame(blank, units_p)

    @property
    def best(self) -> list[int]:
        """The units of the best hypothesis."""
        return list(max(self.hypotheses.items(), key=lambda pair: pair[1].score)[0])

    def _frame(self, blank: float, log_p: dict[int, float]) -> None:
        """Advance by a frame with the log-probabilities of the blank and of the units that are not pruned."""
        extended = {
            prefix: Hypothesis(hypothesis.lm, hypothesis.acoustic + blank, _repeated(prefix, hypothesis, log_p))
            for prefix, hypothesis in self.hypotheses.items()
        }
        if log_p:
            for prefix, hypothesis in self.hypotheses.items():
                self._extend(extended, prefix, hypothesis, log_p)
            extended = dict(sorted(extended.items(), key=lambda pair: pair[1].score, reverse=True)[: self.search.width])
        self.hypotheses = extended

    def _extend(
        self,
        extended: dict[tuple[int, ...], Hypothesis],
        prefix: tuple[int, ...],
        hypothesis: Hypothesis,
        log_p: dict[int, float],
    ) -> None:
        """Add to `extended` the extensions of a hypothesis by one unit."""
        last, acoustic = prefix[-1] if prefix else BLANK, hypothesis.acoustic
        for unit, unit_p in log_p.items():
            before = hypothesis.blank if unit == last else acoustic  # equal units without a blank between are one
            if before == NEVER:
                continue
            longer = (*prefix, unit)
            new = extended.get(longer)
            if new is None:
                new = extended[longer] = Hypothesis(self._advance(hypothesis.lm, unit))
            new.unit = _plus(new.unit, before + unit_p)

    def _advance(self, state: LMState, unit: int) -> LMState:
        score = self.search.lm_weight * self.lm.score(state.context, unit) + self.search.unit_bonus
        return LMState(state.score + score, after(state.context, unit))


def rescore_jointly(
    log_ps: Sequence[torch.Tensor], weights: Sequence[float], search: BeamSearch, lm: NGramLM
) -> list[int]:
    """The units of the best hypothesis by several recognizers, out of the union of their n-best lists.

    `log_ps`: each recognizer's log-probabilities of the units [n, U]. A hypothesis has the score of the language model and the
    mean of its CTC log-probabilities by `weights`, which sum to 1 (n-best rescoring, Ostendorf et al. 1991).
    """
    weighted = [(log_p, weight) for log_p, weight in zip(log_ps, weights, strict=True) if weight]
    lm_scores: dict[tuple[int, ...], float] = {}
    for log_p, _ in weighted:
        beam = CTCPrefixBeam(search, lm)
        beam.push(log_p)
        n_best = sorted(beam.hypotheses.items(), key=lambda pair: pair[1].score, reverse=True)[:N_BEST]
        lm_scores |= {prefix: hypothesis.lm.score for prefix, hypothesis in n_best}
    prefixes = list(lm_scores)
    scores = torch.tensor(list(lm_scores.values()))
    for log_p, weight in weighted:
        scores += weight * ctc_log_probabilities(log_p, prefixes)
    return list(prefixes[int(scores.argmax())])


def ctc_log_probabilities(log_p: torch.Tensor, texts: Sequence[Sequence[int]]) -> torch.Tensor:
    """The CTC log-probabilities [R], on the CPU, of R unit sequences, from the units' log-probabilities [n, U]."""
    log_p = log_p.float().cpu()
    units = torch.tensor([unit for text in texts for unit in text], dtype=torch.long)
    sizes = torch.tensor([len(text) for text in texts])
    rows = log_p[:, None].expand(-1, len(texts), -1).contiguous()
    return -functional.ctc_loss(rows, units, torch.full_like(sizes, len(log_p)), sizes, BLANK, "none")


def _repeated(prefix: tuple[int, ...], hypothesis: Hypothesis, log_p: dict[int, float]) -> float:
    """The log-probability of the paths on which the last unit continues."""
    return hypothesis.unit + log_p.get(prefix[-1], NEVER) if prefix else NEVER


def _plus(a: float, b: float) -> float:
    """log(exp(a) + exp(b))"""
    if a < b:
        a, b = b, a
    return a if b == NEVER else a + math.log1p(math.exp(b - a))
