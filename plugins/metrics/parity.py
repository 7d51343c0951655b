"""Parity: what is left, by ear and by mouth, of what the same frozen LLM answers by text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import Score
from fobench.statistics import bootstrap, proportions
from fobench_plugins.metrics.aggregation import absences, missing
from fobench_plugins.metrics.correctness import ROUTES, Correctness, Route, judged, verdict

POINTS = 100.0  # points in a share of 1


@dataclass(frozen=True, slots=True)
class ParityPairs:
    """Items judged on both routes: `tested` and `reference` are 1.0 for right."""

    tested: tuple[float, ...]
    reference: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.tested)


class Parity:
    """Paired by item, over the items that both routes can be judged on.

    `parity_a2t2t`, `parity_s2t`, `parity_s2s` = acc(route) / acc(t2t), a ratio with a paired bootstrap's 95 % interval.
    `loss_understanding` = acc(t2t) - acc(s2t) and `loss_speaking` = acc(s2t) - acc(s2s), in points. Each carries exact
    McNemar (`b` right only by the reference, `c` only by the tested route) and the non-inferiority verdict of
    `fobench.statistics.bootstrap` against `margin` points. A scenario has no score of its own: `detail["routes"]` holds its verdicts.
    """

    name = "parity"
    version = 1
    unit = "ratio"
    better: Literal["higher", "lower", "none"] = "higher"

    def __init__(self, margin: float) -> None:
        proportions.needed_pairs(margin)  # refuses a margin that makes no test
        self.margin = margin

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        routes = {route: asdict(verdict(trace, route)) for route in ROUTES}
        reason = f"failure: {trace.failure.kind}" if trace.failure else "a ratio of the run: see its total"
        return missing(self, reason, scenario, routes=routes, failed=bool(trace.failure))

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        ratios = [self._ratio(route, scores) for route in ROUTES if route != "t2t"]
        return [
            *ratios,
            self._loss("loss_understanding", "s2t", "t2t", scores),
            self._loss("loss_speaking", "s2s", "s2t", scores),
        ]

    def _ratio(self, route: Route, scores: Sequence[Score]) -> Score:
        name, pairs = f"parity_{route}", paired(scores, route, "t2t")
        detail = {**unpaired(scores, pairs), **self._test(pairs)}
        reason = why_not(scores, pairs, route, "t2t") or ("acc(t2t) is 0" if not any(pairs.reference) else "")
        if reason:
            return Score(name, self.version, None, "ratio", pairs.n, "higher", reason, detail=detail)
        ci = bootstrap.paired_ratio(pairs.tested, pairs.reference)
        ratio = sum(pairs.tested) / sum(pairs.reference)
        return Score(name, self.version, ratio, "ratio", pairs.n, "higher", ci=ci, detail=detail)

    def _loss(self, name: str, tested: Route, reference: Route, scores: Sequence[Score]) -> Score:
        pairs = paired(scores, tested, reference)
        detail = {**unpaired(scores, pairs), **self._test(pairs)}
        reason = why_not(scores, pairs, tested, reference)
        if reason:
            return Score(name, self.version, None, "points", 0, "lower", reason, detail=detail)
        loss = POINTS * (sum(pairs.reference) - sum(pairs.tested)) / pairs.n
        ci = points(bootstrap.paired_difference(pairs.reference, pairs.tested))
        return Score(name, self.version, loss, "points", pairs.n, "lower", ci=ci, detail=detail)

    def _test(self, pairs: ParityPairs) -> dict[str, Any]:
        """McNemar and non-inferiority of tested - reference."""
        if not pairs.n:
            return {"n_pairs": 0, "margin": self.margin}
        b = sum(r > t for t, r in zip(pairs.tested, pairs.reference, strict=True))
        c = sum(t > r for t, r in zip(pairs.tested, pairs.reference, strict=True))
        p = proportions.mcnemar(b, c)
        ci90 = points(bootstrap.paired_difference(pairs.tested, pairs.reference, confidence=0.9))
        return {
            "n_pairs": pairs.n,
            "accuracy_tested": sum(pairs.tested) / pairs.n,
            "accuracy_reference": sum(pairs.reference) / pairs.n,
            "difference_points": POINTS * (c - b) / pairs.n,
            "difference_ci90_points": ci90,
            "b": b,
            "c": c,
            "p": p,
            "verdict": proportions.non_inferiority(ci90, self.margin, pairs.n, p),
            "margin": self.margin,
            "needed_pairs": proportions.needed_pairs(self.margin),
        }


def verdicts(scores: Sequence[Score], route: Route) -> list[Correctness]:
    return [Correctness(**score.detail["routes"][route]) for score in scores]


def paired(scores: Sequence[Score], tested: Route, reference: Route) -> ParityPairs:
    """The items with a verdict on both routes; none if a route was not judged at all."""
    first, second = verdicts(scores, tested), verdicts(scores, reference)
    if not judged(first) or not judged(second):
        return ParityPairs((), ())
    rows = [
        (float(a.right), float(b.right))
        for a, b in zip(first, second, strict=True)
        if a.right is not None and b.right is not None
    ]
    return ParityPairs(tuple(r[0] for r in rows), tuple(r[1] for r in rows))


def unpaired(scores: Sequence[Score], pairs: ParityPairs) -> dict[str, int]:
    """How many scenarios made no pair, and how many of all failed."""
    return {"n_unpaired": len(scores) - pairs.n, "n_failed": absences(scores)["n_failed"]}


def why_not(scores: Sequence[Score], pairs: ParityPairs, *routes: Route) -> str:
    """Why there are no pairs; "" if there are some."""
    if pairs.n:
        return ""
    for route in routes:
        found = verdicts(scores, route)
        reasons = [v.reason for v in found if v.right is None]
        if reasons and (not judged(found) or len(reasons) == len(found)):
            return reasons[0]
    return "no item was judged on both routes"


def points(interval: bootstrap.Interval | None) -> bootstrap.Interval | None:
    return (POINTS * interval[0], POINTS * interval[1]) if interval else None
