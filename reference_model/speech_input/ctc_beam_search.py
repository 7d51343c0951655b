"""CTC prefix beam search (arXiv 1408.2873), frame by frame, with an n-gram language model of the units.

`rescore_jointly` combines the outputs of several recognizers for the same audio.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import torch
from torch.nn import functional

from reference_model.speech_input.bpe_units import BLANK
from reference_model.speech_input.ngram_lm import BEGINNING, NGramLM, after

NEVER = -math.inf
BY_SCORE = attrgetter("score")
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


@dataclass(slots=True, eq=False)
class Hypothesis:
    """A node in the tree of unit sequences, with the log-probabilities of its paths that end in blank and in its last unit."""

    parent: Hypothesis | None
    last: int  # unit; BLANK for the empty sequence
    lm_score: float  # with the bonus for each unit
    context: int  # of the language model, at the end
    blank: float = NEVER
    unit: float = NEVER
    acoustic: float = NEVER  # log-probability by the CTC outputs: of both kinds of paths
    score: float = NEVER  # acoustic and language-model score
    frame: int = 0  # the latest frame at which it was reached
    backoffs: Sequence[tuple[int, float]] = ()  # of the context, once it has been extended
    children: dict[int, Hypothesis] | None = None  # by unit, once it has been extended

    @property
    def units(self) -> tuple[int, ...]:
        node, units = self, list[int]()
        while node.parent is not None:
            units.append(node.last)
            node = node.parent
        return tuple(reversed(units))

    def reach(self, frame: int, blank: float, unit: float) -> None:
        """Set the log-probabilities of a frame."""
        self.frame, self.blank, self.unit = frame, blank, unit
        self.acoustic = unit if blank == NEVER else _plus(blank, unit)
        self.score = self.acoustic + self.lm_score


def _empty() -> list[Hypothesis]:
    return [Hypothesis(None, BLANK, 0.0, BEGINNING, blank=0.0, acoustic=0.0, score=0.0)]


@dataclass(slots=True)
class CTCPrefixBeam:
    """The beam of one user turn. `push` advances it; `best` is the best hypothesis so far."""

    search: BeamSearch
    lm: NGramLM
    hypotheses: list[Hypothesis] = field(default_factory=_empty)
    frames: int = 0  # so far

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
        return list(max(self.hypotheses, key=BY_SCORE).units)

    def n_best(self, count: int) -> list[Hypothesis]:
        """The `count` best hypotheses, the best one first."""
        return sorted(self.hypotheses, key=BY_SCORE, reverse=True)[:count]

    def _frame(self, blank: float, log_p: dict[int, float]) -> None:
        """Advance by a frame with the log-probabilities of the blank and of the units that are not pruned."""
        self.frames += 1
        beam, width = self.hypotheses, self.search.width
        before = [(node, node.acoustic, node.blank) for node in beam]  # the values of the last frame
        for node in beam:
            node.reach(self.frames, node.acoustic + blank, node.unit + log_p.get(node.last, NEVER))
        if log_p:
            least = min(node.score for node in beam) if len(beam) >= width else NEVER
            beam = [*beam, *self._extensions(before, log_p, least)]
            self.hypotheses = sorted(beam, key=BY_SCORE, reverse=True)[:width]

    def _extensions(
        self, before: Sequence[tuple[Hypothesis, float, float]], log_p: dict[int, float], least: float
    ) -> list[Hypothesis]:
        """Extend all hypotheses by one unit. Returns the new ones; those that are in the beam already are updated.

        An extension whose score cannot reach `least` would not stay in the beam and is left out, which saves most of the time.
        """
        new, weight, bonus = [], self.search.lm_weight, self.search.unit_bonus
        for node, acoustic, blank in before:
            if (children := node.children) is None:
                node.backoffs, node.children = self.lm.backoffs(node.context), (children := {})
            highest = node.lm_score + bonus + weight * (self.lm.highest + max(total for _, total in node.backoffs))
            for unit, unit_p in log_p.items():
                start = blank if unit == node.last else acoustic  # equal units without a blank between are one
                if start == NEVER:
                    continue
                child = children.get(unit)
                if child is not None and child.frame == self.frames:
                    child.reach(self.frames, child.blank, _plus(child.unit, start + unit_p))
                elif start + unit_p + highest >= least:
                    if child is None:
                        gain = weight * self.lm.score_after(node.backoffs, unit) + bonus
                        children[unit] = child = Hypothesis(node, unit, node.lm_score + gain, after(node.context, unit))
                    child.reach(self.frames, NEVER, start + unit_p)
                    new.append(child)
        return new


def rescore_jointly(
    log_ps: Sequence[torch.Tensor],
    weights: Sequence[float],
    search: BeamSearch,
    lm: NGramLM,
    searched: CTCPrefixBeam | None = None,
) -> list[int]:
    """The units of the best hypothesis by several recognizers, out of the union of their n-best lists.

    `log_ps`: each recognizer's log-probabilities of the units [n, U]. A hypothesis has the score of the language model and the
    mean of its CTC log-probabilities by `weights`, which sum to 1 (n-best rescoring, Ostendorf et al. 1991). `searched`: the beam
    of the last recognizer, if it has been pushed already; one by another search, or of other frames, is not used.
    """
    beams: list[CTCPrefixBeam | None] = [None] * len(log_ps)
    if searched is not None and searched.search == search and searched.frames == len(log_ps[-1]):
        beams[-1] = searched
    weighted = [part for part in zip(log_ps, weights, beams, strict=True) if part[1]]
    lm_scores: dict[tuple[int, ...], float] = {}
    for log_p, _, beam in weighted:
        if beam is None:
            beam = CTCPrefixBeam(search, lm)
            beam.push(log_p)
        lm_scores |= {hypothesis.units: hypothesis.lm_score for hypothesis in beam.n_best(N_BEST)}
    texts = list(lm_scores)
    scores = torch.tensor(list(lm_scores.values()))
    for log_p, weight, _ in weighted:
        scores += weight * ctc_log_probabilities(log_p, texts)
    return list(texts[int(scores.argmax())])


def ctc_log_probabilities(log_p: torch.Tensor, texts: Sequence[Sequence[int]]) -> torch.Tensor:
    """The CTC log-probabilities [R], on the CPU, of R unit sequences, from the units' log-probabilities [n, U]."""
    log_p = log_p.float().cpu()
    units = torch.tensor([unit for text in texts for unit in text], dtype=torch.long)
    sizes = torch.tensor([len(text) for text in texts])
    rows = log_p[:, None].expand(-1, len(texts), -1).contiguous()
    return -functional.ctc_loss(rows, units, torch.full_like(sizes, len(log_p)), sizes, BLANK, "none")


def _plus(a: float, b: float) -> float:
    """log(exp(a) + exp(b))"""
    if a < b:
        a, b = b, a
    return a if b == NEVER else a + math.log1p(math.exp(b - a))
