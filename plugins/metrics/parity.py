"""`parity`: accuracy with speech input or output relative to the same frozen LLM's accuracy with text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import Score
from fobench.statistics import proportions
from fobench.statistics.bootstrap import Interval
from fobench_plugins.metrics.aggregation import missing_counts, missing_score
from fobench_plugins.metrics.correctness import ROUTES, Correctness, Route, is_route_judged, judge_reply

POINTS = 100.0  # percentage points in a share of 1


@dataclass(frozen=True, slots=True)
class ParityPairs:
    """Outcomes of the scenarios judged on both routes: `tested` and `reference` [n] are 1.0 for a correct reply,
    else 0.0.
    """

    tested: tuple[float, ...]
    reference: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.tested)

    @property
    def both(self) -> int:
        """Pairs that are correct on both routes."""
        return sum(t == r == 1.0 for t, r in zip(self.tested, self.reference, strict=True))

    @property
    def lost(self) -> int:
        """Pairs that are correct on the reference route only."""
        return sum(r > t for t, r in zip(self.tested, self.reference, strict=True))

    @property
    def gained(self) -> int:
        """Pairs that are correct on the tested route only."""
        return sum(t > r for t, r in zip(self.tested, self.reference, strict=True))


class Parity:
    """Ratios and differences of accuracies, paired by scenario, over the scenarios that can be judged on both routes.

    `parity_a2t2t`, `parity_s2t`, `parity_s2s` = acc(route) / acc(t2t), with the 95 % interval of a ratio of paired
    proportions.
    `loss_understanding` = acc(t2t) - acc(s2t) and `loss_speaking` = acc(s2t) - acc(s2s), in percentage points, with
    that of a paired difference (both of `fobench.statistics.proportions`). Each carries the exact McNemar test (`b`: correct only on the reference route, `c`: only on the tested route) and the
    non-inferiority verdict of `fobench.statistics.proportions` against `margin` percentage points. A scenario has no
    score of its own: `detail["routes"]` holds its `Correctness` per route.
    """

    name = "parity"
    version = 2
    unit = "ratio"
    better: Literal["higher", "lower", "none"] = "higher"

    def __init__(self, margin: float) -> None:
        proportions.min_pairs(margin)  # raises for a margin that cannot be tested
        self.margin = margin

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        routes = {route: asdict(judge_reply(trace, route)) for route in ROUTES}
        reason = f"failure: {trace.failure.kind}" if trace.failure else "a ratio of the run: see its total"
        return missing_score(self, reason, scenario, routes=routes, failed=bool(trace.failure))

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        ratios = [self._ratio(route, scores) for route in ROUTES if route != "t2t"]
        return [
            *ratios,
            self._loss("loss_understanding", "s2t", "t2t", scores),
            self._loss("loss_speaking", "s2s", "s2t", scores),
        ]

    def _ratio(self, route: Route, scores: Sequence[Score]) -> Score:
        name, pairs = f"parity_{route}", pair_routes(scores, route, "t2t")
        detail = {**unpaired_counts(scores, pairs), **self._test(pairs)}
        reason = missing_reason(scores, pairs, route, "t2t") or ("acc(t2t) is 0" if not any(pairs.reference) else "")
        if reason:
            return Score(name, self.version, None, "ratio", pairs.n, "higher", reason, detail=detail)
        ci = proportions.paired_ratio(pairs.both, pairs.lost, pairs.gained)
        ratio = sum(pairs.tested) / sum(pairs.reference)
        return Score(name, self.version, ratio, "ratio", pairs.n, "higher", ci=ci, detail=detail)

    def _loss(self, name: str, tested: Route, reference: Route, scores: Sequence[Score]) -> Score:
        pairs = pair_routes(scores, tested, reference)
        detail = {**unpaired_counts(scores, pairs), **self._test(pairs)}
        reason = missing_reason(scores, pairs, tested, reference)
        if reason:
            return Score(name, self.version, None, "points", 0, "lower", reason, detail=detail)
        loss = POINTS * (sum(pairs.reference) - sum(pairs.tested)) / pairs.n
        ci = to_points(proportions.paired_shares(pairs.gained, pairs.lost, pairs.n))
        return Score(name, self.version, loss, "points", pairs.n, "lower", ci=ci, detail=detail)

    def _test(self, pairs: ParityPairs) -> dict[str, Any]:
        """Accuracies, exact McNemar test and non-inferiority test of tested - reference."""
        if not pairs.n:
            return {"n_pairs": 0, "margin": self.margin}
        b, c = pairs.lost, pairs.gained
        p = proportions.mcnemar(b, c)
        ci90 = to_points(proportions.paired_shares(b, c, pairs.n, confidence=0.9))
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
            "needed_pairs": proportions.min_pairs(self.margin),
        }


def route_verdicts(scores: Sequence[Score], route: Route) -> list[Correctness]:
    return [Correctness(**score.detail["routes"][route]) for score in scores]


def pair_routes(scores: Sequence[Score], tested: Route, reference: Route) -> ParityPairs:
    """The scenarios judged on both routes; empty if one of the routes was not judged at all."""
    first, second = route_verdicts(scores, tested), route_verdicts(scores, reference)
    if not is_route_judged(first) or not is_route_judged(second):
        return ParityPairs((), ())
    rows = [
        (float(a.right), float(b.right))
        for a, b in zip(first, second, strict=True)
        if a.right is not None and b.right is not None
    ]
    return ParityPairs(tuple(r[0] for r in rows), tuple(r[1] for r in rows))


def unpaired_counts(scores: Sequence[Score], pairs: ParityPairs) -> dict[str, int]:
    """Counts of the scenarios without a pair, and of those with a failure."""
    return {"n_unpaired": len(scores) - pairs.n, "n_failed": missing_counts(scores)["n_failed"]}


def missing_reason(scores: Sequence[Score], pairs: ParityPairs, *routes: Route) -> str:
    """The reason why there are no pairs; "" if there are some."""
    if pairs.n:
        return ""
    for route in routes:
        found = route_verdicts(scores, route)
        reasons = [v.reason for v in found if v.right is None]
        if reasons and (not is_route_judged(found) or len(reasons) == len(found)):
            return reasons[0]
    return "no item was judged on both routes"


def to_points(interval: Interval | None) -> Interval | None:
    return (POINTS * interval[0], POINTS * interval[1]) if interval else None
