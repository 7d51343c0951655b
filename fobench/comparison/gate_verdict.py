"""What a gate says of a change: a regression, none, or that the items cannot tell.

A *regression* exceeds the limit, and its p (one-sided, Holm-corrected over the gates) is under alpha: effect and significance.
No regression (*ok*) is claimed where one of the limit's size would have been seen, with 80 % power, or lies outside of the
one-sided 95 % interval. Everything else is *inconclusive*, and told with the number of items that would do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Any

from fobench.comparison.gates import Gate
from fobench.comparison.metric_delta import MetricDelta
from fobench.statistics.proportions import holm

ALPHA = 0.05
POWER = 0.8


class GateOutcome(StrEnum):
    """In the order in which they decide an exit code."""

    REGRESSION = "regression"
    INCONCLUSIVE = "inconclusive"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """`harm`: by how much the figure became worse, in the gate's unit; `detectable`: the least that would be seen.

    `bound`: the end of the one-sided 95 % interval of `harm`. `needed`: pairs that would do, where these do not.
    """

    gate: Gate
    change: MetricDelta
    verdict: GateOutcome
    harm: float
    bound: float | None
    p: float
    p_holm: float
    detectable: float | None
    needed: int | None
    why: str

    def to_json(self) -> dict[str, Any]:
        plain = ("verdict", "harm", "bound", "p", "p_holm", "detectable", "needed", "why")
        gate = {"gate": self.gate.text, "figure": self.gate.figure, "limit": self.gate.limit, "unit": self.gate.unit}
        return {**gate, **{name: getattr(self, name) for name in plain}, "n": self.change.n}


def rulings(gated: Sequence[tuple[Gate, MetricDelta]], alpha: float = ALPHA) -> list[GateVerdict]:
    """One a gate, in order. The gates are one family: none but 5 % of unchanged systems shall be refused by any of them."""
    tests = [_p(gate, change) for gate, change in gated]
    family = zip(gated, tests, holm(tests), strict=True)
    return [_ruling(gate, change, p, p_holm, alpha, len(gated)) for (gate, change), p, p_holm in family]


def _p(gate: Gate, change: MetricDelta) -> float:
    return change.p_rise if gate.sign > 0 else change.p_fall


def _ruling(gate: Gate, change: MetricDelta, p: float, p_holm: float, alpha: float, gates: int) -> GateVerdict:
    scale = gate.scale(change.unit)
    harm = gate.sign * change.effect(gate.relative) / scale
    bound = _bound(gate, change, scale)
    seen = detectable(gate, change, alpha / gates)
    verdict, why = _verdict(gate, change, harm, bound, p_holm < alpha, seen)
    needed = _needed(gate, change, harm, seen) if verdict == GateOutcome.INCONCLUSIVE else None
    return GateVerdict(gate, change, verdict, harm, bound, p, p_holm, seen, needed, why)


def _verdict(
    gate: Gate, change: MetricDelta, harm: float, bound: float | None, significant: bool, seen: float | None
) -> tuple[GateOutcome, str]:
    limit = f"{gate.limit:g}{gate.unit}"
    if not change.shown:
        return GateOutcome.INCONCLUSIVE, f"{change.n} pairs are too few"
    if harm > gate.limit and significant:
        return GateOutcome.REGRESSION, f"worse by more than {limit}, and not by chance"
    if change.n < change.fewest:
        return GateOutcome.INCONCLUSIVE, f"{change.n} pairs are too few"
    if harm > gate.limit:
        return GateOutcome.INCONCLUSIVE, f"worse by more than {limit}, but it may be chance"
    if bound is not None and bound < gate.limit:
        return GateOutcome.OK, f"not worse by {limit}"
    if seen is not None and seen <= gate.limit:
        return GateOutcome.OK, f"{limit} would have been seen"
    return GateOutcome.INCONCLUSIVE, f"{limit} could go unseen"


def _bound(gate: Gate, change: MetricDelta, scale: float) -> float | None:
    """The upper end of the harm's one-sided 95 % interval, in the gate's unit; of pairs none of which changed, by the rule of three."""
    if not change.changed:
        return _unseen(gate, change, 0.05) / scale
    found = change.ci(gate.relative, confidence=0.9)
    return max(gate.sign * end / scale for end in found) if found else None


def _unseen(gate: Gate, change: MetricDelta, chance: float) -> float:
    """The share of all units (words of a WER, else pairs) that changes, though with this `chance` none of ours does.

    With 5 % it is the rule of three. It is less than lies beyond a percentile where there are its `fewest` pairs: that does
    not change at all.
    """
    if change.percentile:
        return 0.0
    share = 1 - math.pow(chance, 1 / max(change.size, 1))
    return share / abs(change.base) if gate.relative and change.base else share


def detectable(gate: Gate, change: MetricDelta, alpha: float) -> float | None:
    """The least harm, in the gate's unit, that a one-sided test at `alpha` finds in 80 % of the cases with so many pairs.

    From the effect's standard error. A loss of right-or-wrong items brings discordant pairs of its own: they are added.
    Where no pair changed, what would have changed one.
    """
    error, scale = change.error(gate.relative), gate.scale(change.unit)
    if not change.changed:
        return _unseen(gate, change, 1 - POWER) / scale
    if not math.isfinite(error):
        return None
    if change.test == "mcnemar":
        base = abs(change.base) if gate.relative else 1.0
        share = min(0.5, gate.limit * scale * base)
        error = math.sqrt(error**2 + share * (1 - share) / change.n / base**2)
    return (quantile(1 - alpha) + quantile(POWER)) * error / scale


def _needed(gate: Gate, change: MetricDelta, harm: float, seen: float | None) -> int | None:
    """Pairs with which the limit, or what was found beyond it, would be seen."""
    if seen is None:
        return None
    times = seen / max(gate.limit, harm)
    return max(change.fewest, change.n + 1, math.ceil(change.n * (times**2 if change.changed else times)))


def quantile(share: float) -> float:
    return NormalDist().inv_cdf(share)
