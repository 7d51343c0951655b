"""CTC prefix beam search (arXiv 1408.2873) with a language model of units, frame by frame: what was heard, on the evidence so far.

Where the same was heard twice, `rescore_jointly` finds the reading that both hearings bear out best.
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
READINGS = 12  # of each hearing that are weighed against one another


@dataclass(frozen=True, slots=True)
class BeamSearch:
    """How it searches. A unit of a frame is tried if it is among the `units` best and above `floor`."""

    lm_entries: int  # size of the language model's table
    width: int = 32  # readings that are followed
    units: int = 8
    floor: float = -7.0  # natural log
    lm_weight: float = 0.6
    unit_bonus: float = 2.0  # natural log, a unit: the language model alone would have everything short


class LMState(NamedTuple):
    """What a reading is worth before it is heard: a natural log; and the language model's context at its end."""

    score: float
    context: int


@dataclass(slots=True)
class Hypothesis:
    """A reading: its chance if the last frame was blank and if not, both natural logs, and its prior."""

    prior: LMState
    blank: float = NEVER
    unit: float = NEVER

    @property
    def sound(self) -> float:
        return _plus(self.blank, self.unit)

    @property
    def score(self) -> float:
        return self.sound + self.prior.score


def _nothing() -> dict[tuple[int, ...], Hypothesis]:
    return {(): Hypothesis(LMState(0.0, BEGINNING), blank=0.0)}


@dataclass(slots=True)
class CTCPrefixBeam:
    """One user turn. `push` takes frames as they come; `best` is the likeliest reading so far."""

    search: BeamSearch
    lm: NGramLM
    guesses: dict[tuple[int, ...], Hypothesis] = field(default_factory=_nothing)

    def push(self, log_p: torch.Tensor) -> None:
        """Natural logs of the chances of the units [n, U] in n frames."""
        units = torch.cat([log_p[:, :BLANK], log_p[:, BLANK + 1 :]], 1)
        best, at = units.topk(min(self.search.units, units.shape[1]), -1)
        for scores, ids, blank in zip(best.tolist(), at.tolist(), log_p[:, BLANK].tolist(), strict=True):
            heard = {i + (i >= BLANK): p for i, p in zip(ids, scores, strict=True) if p > self.search.floor}
            self._frame(blank, heard)

    @property
    def best(self) -> list[int]:
        return list(max(self.guesses.items(), key=lambda pair: pair[1].score)[0])

    def _frame(self, blank: float, heard: dict[int, float]) -> None:
        """A frame with the chances of blank, and of the units that are tried."""
        made = {
            reading: Hypothesis(guess.prior, guess.sound + blank, _held(reading, guess, heard))
            for reading, guess in self.guesses.items()
        }
        if heard:
            for reading, guess in self.guesses.items():
                self._extend(made, reading, guess, heard)
            made = dict(sorted(made.items(), key=lambda pair: pair[1].score, reverse=True)[: self.search.width])
        self.guesses = made

    def _extend(
        self,
        made: dict[tuple[int, ...], Hypothesis],
        reading: tuple[int, ...],
        guess: Hypothesis,
        heard: dict[int, float],
    ) -> None:
        """All that a reading may become with this frame, into `made`."""
        last, sound = reading[-1] if reading else BLANK, guess.sound
        for unit, chance in heard.items():
            before = guess.blank if unit == last else sound  # without a blank between them, two of the same are one
            if before == NEVER:
                continue
            longer = (*reading, unit)
            new = made.get(longer)
            if new is None:
                new = made[longer] = Hypothesis(self._prior(guess.prior, unit))
            new.unit = _plus(new.unit, before + chance)

    def _prior(self, prior: LMState, unit: int) -> LMState:
        """Of a reading that is one unit longer."""
        score = self.search.lm_weight * self.lm.score(prior.context, unit) + self.search.unit_bonus
        return LMState(prior.score + score, after(prior.context, unit))


def rescore_jointly(
    hearings: Sequence[torch.Tensor], weights: Sequence[float], search: BeamSearch, lm: NGramLM
) -> list[int]:
    """Of the readings that either of several hearings leaves likely, the best by all of them.

    `hearings`: natural logs of the units' chances [n, U] each; a reading is worth the mean of its chances in them, by `weights`
    that sum to 1, and its prior (n-best lists rescored by another system's model, Ostendorf et al. 1991).
    """
    told = [(log_p, weight) for log_p, weight in zip(hearings, weights, strict=True) if weight]
    priors: dict[tuple[int, ...], float] = {}
    for log_p, _ in told:
        beam = CTCPrefixBeam(search, lm)
        beam.push(log_p)
        likely = sorted(beam.guesses.items(), key=lambda pair: pair[1].score, reverse=True)[:READINGS]
        priors |= {reading: guess.prior.score for reading, guess in likely}
    readings = list(priors)
    worth = torch.tensor(list(priors.values()))
    for log_p, weight in told:
        worth += weight * chances(log_p, readings)
    return list(readings[int(worth.argmax())])


def chances(log_p: torch.Tensor, readings: Sequence[Sequence[int]]) -> torch.Tensor:
    """How likely each of R readings is, of natural logs of the units' chances [n, U]: natural logs [R] on the CPU."""
    log_p = log_p.float().cpu()
    units = torch.tensor([unit for reading in readings for unit in reading], dtype=torch.long)
    sizes = torch.tensor([len(reading) for reading in readings])
    rows = log_p[:, None].expand(-1, len(readings), -1).contiguous()
    return -functional.ctc_loss(rows, units, torch.full_like(sizes, len(log_p)), sizes, BLANK, "none")


def _held(reading: tuple[int, ...], guess: Hypothesis, heard: dict[int, float]) -> float:
    """The chance that the last unit is still to be heard."""
    return guess.unit + heard.get(reading[-1], NEVER) if reading else NEVER


def _plus(a: float, b: float) -> float:
    """log(exp(a) + exp(b))"""
    if a < b:
        a, b = b, a
    return a if b == NEVER else a + math.log1p(math.exp(b - a))
