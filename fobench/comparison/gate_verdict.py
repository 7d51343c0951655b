"""Gate verdicts: regression, ok or inconclusive.

A *regression* exceeds the limit with a one-sided p, Holm-corrected over the gates, under alpha: effect and significance.
*ok* means that a change of the limit's size would have been detected with 80 % power, or lies outside of the one-sided 95 %
interval. Everything else is *inconclusive*, reported with the number of items that would be sufficient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Any

from fobench.comparison.gates import Gate
from fobench.comparison.metric_delta import MetricDelta
from fobench.statistics.proportions import holm

ALPHA = 0.05
POWER = 0.8
GUARDS = {"response_ms": ("early_reply_rate", "no_reply_rate"), "endpoint_ms": ("early_reply_rate", "no_reply_rate")}
GUARD_PP = 5


class GateOutcome(StrEnum):
    """The outcomes of a gate, in order of precedence for the exit code."""

    REGRESSION = "regression"
    INCONCLUSIVE = "inconclusive"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The verdict of a gate. `harm`: how much worse the metric became, in the gate's unit; `detectable`: the least detectable harm.

    `bound`: upper end of the one-sided 95 % interval of `harm`. `needed`: the sufficient number of pairs, if inconclusive.
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


def gate_verdicts(gated: Sequence[tuple[Gate, MetricDelta]], alpha: float = ALPHA) -> list[GateVerdict]:
    """The verdicts of gates with their deltas, in order. The gates are one family with a family-wise error rate of `alpha`."""
    tests = [change.p_rise if gate.sign > 0 else change.p_fall for gate, change in gated]
    family = zip(gated, tests, holm(tests), strict=True)
    return [_gate_verdict(gate, change, p, p_holm, alpha, len(gated)) for (gate, change), p, p_holm in family]


def guard_verdicts(
    gated: Sequence[tuple[Gate, MetricDelta]], deltas: Mapping[str, MetricDelta], alpha: float = ALPHA
) -> list[GateVerdict]:
    """Verdicts against gates on latencies that would pass because the new run barges in, or leaves questions unanswered.

    A latency is a median over replies in time; each `GUARDS` rate of a gated latency must not rise by more than 5 pp beside it.
    Only rises beyond that are returned, so that guards change no other verdict. `deltas`: all deltas by metric.
    """
    own = {change.metric for _, change in gated}
    guards = dict.fromkeys(guard for metric in own for guard in GUARDS.get(metric, ()) if guard not in own)
    found = [(Gate(f"{g}:{GUARD_PP}pp", g, GUARD_PP, "pp", 1), deltas[g]) for g in guards if g in deltas]
    return [verdict for verdict in gate_verdicts(found, alpha) if verdict.harm > GUARD_PP]


def _gate_verdict(gate: Gate, change: MetricDelta, p: float, p_holm: float, alpha: float, gates: int) -> GateVerdict:
    scale = gate.scale(change.unit)
    harm = gate.sign * change.effect(gate.relative) / scale
    bound = _bound(gate, change, scale)
    least_detectable = detectable(gate, change, alpha / gates)
    verdict, why = _outcome(gate, change, harm, bound, p_holm < alpha, least_detectable)
    needed = _sufficient_pairs(gate, change, harm, least_detectable) if verdict == GateOutcome.INCONCLUSIVE else None
    return GateVerdict(gate, change, verdict, harm, bound, p, p_holm, least_detectable, needed, why)


def _outcome(
    gate: Gate, change: MetricDelta, harm: float, bound: float | None, significant: bool, least_detectable: float | None
) -> tuple[GateOutcome, str]:
    limit = f"{gate.limit:g}{gate.unit}"
    if not change.shown:
        return GateOutcome.INCONCLUSIVE, f"{change.n} pairs are too few"
    if harm > gate.limit and significant:
        return GateOutcome.REGRESSION, f"significantly worse by more than {limit}"
    if change.n < change.min_pairs:
        return GateOutcome.INCONCLUSIVE, f"{change.n} pairs are too few"
    if harm > gate.limit:
        return GateOutcome.INCONCLUSIVE, f"worse by more than {limit}, but not significantly"
    if bound is not None and bound < gate.limit:
        return GateOutcome.OK, f"not worse by {limit}"
    if least_detectable is not None and least_detectable <= gate.limit:
        return GateOutcome.OK, f"a change of {limit} would have been detected"
    return GateOutcome.INCONCLUSIVE, f"a change of {limit} could go undetected"


def _bound(gate: Gate, change: MetricDelta, scale: float) -> float | None:
    """Upper end of the harm's one-sided 95 % interval, in the gate's unit; by the rule of three if no pair changed."""
    if not change.changed:
        return _undetected_share(gate, change, 0.05) / scale
    ends = change.ci(gate.relative, confidence=0.9)
    return max(gate.sign * end / scale for end in ends) if ends else None


def _undetected_share(gate: Gate, change: MetricDelta, chance: float) -> float:
    """The true share of changed units (words of a WER, else pairs) at which none is observed with probability `chance`.

    At 5 % this is the rule of three. 0 for a percentile: with `min_pairs`, that share is too small to move it.
    """
    if change.percentile:
        return 0.0
    share = 1 - math.pow(chance, 1 / max(change.size, 1))
    return share / abs(change.base) if gate.relative and change.base else share


def detectable(gate: Gate, change: MetricDelta, alpha: float) -> float | None:
    """The least harm, in the gate's unit, that a one-sided test at `alpha` detects with 80 % power; None if undefined.

    Derived from the effect's standard error; for binary items, the discordant pairs of the loss itself are added.
    If no pair changed, the harm that would have changed one.
    """
    error, scale = change.error(gate.relative), gate.scale(change.unit)
    if not change.changed:
        return _undetected_share(gate, change, 1 - POWER) / scale
    if not math.isfinite(error):
        return None
    if change.test == "mcnemar":
        base = abs(change.base) if gate.relative else 1.0
        share = min(0.5, gate.limit * scale * base)
        error = math.sqrt(error**2 + share * (1 - share) / change.n / base**2)
    return (normal_quantile(1 - alpha) + normal_quantile(POWER)) * error / scale


def _sufficient_pairs(gate: Gate, change: MetricDelta, harm: float, least_detectable: float | None) -> int | None:
    """The number of pairs sufficient to detect the limit, or the harm found beyond it."""
    if least_detectable is None:
        return None
    times = least_detectable / max(gate.limit, harm)
    return max(change.min_pairs, change.n + 1, math.ceil(change.n * (times**2 if change.changed else times)))


def normal_quantile(share: float) -> float:
    return NormalDist().inv_cdf(share)
