"""Construction of `Score`s: one per scenario, the total of a run, and counts of missing values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from fobench.api.components import Metric
from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import Score
from fobench.statistics.bootstrap import MIN_JACKKNIFE, Floats, Interval, blocks, bootstrap_interval, cluster_interval
from fobench.statistics.proportions import wilson

NO_SPREAD = "no spread between the values"


def scenario_score(metric: Metric, value: float, scenario: Scenario, **detail: Any) -> Score:
    """The score of one scenario. `detail["group"]` names its block for the block bootstrap."""
    full_detail = {"group": scenario.group, **detail}
    return Score(metric.name, metric.version, float(value), metric.unit, 1, metric.better, detail=full_detail)


def missing_score(metric: Metric, reason: str, scenario: Scenario, **detail: Any) -> Score:
    """A score without a value for one scenario; `reason` says why it is missing."""
    full_detail = {"group": scenario.group, **detail}
    return Score(metric.name, metric.version, None, metric.unit, 0, metric.better, reason, detail=full_detail)


def failed_score(metric: Metric, trace: Trace, **detail: Any) -> Score:
    """The missing score of a scenario whose trace holds a failure."""
    assert trace.failure, "only a failed trace has a failed score"
    return missing_score(metric, f"failure: {trace.failure.kind}", trace.scenario, failed=True, **detail)


def scores_with_value(scores: Sequence[Score]) -> list[Score]:
    """The scores that have a value."""
    return [score for score in scores if score.value is not None]


def groups(scores: Sequence[Score]) -> list[str]:
    """The bootstrap block of each score; a score without a group is its own block."""
    return [str(score.detail.get("group", i)) for i, score in enumerate(scores)]


def missing_counts(scores: Sequence[Score]) -> dict[str, Any]:
    """Counts of the scores without a value: `n_failed` scenarios with a failure, `n_missing` others, and `reasons`
    {reason: count}.
    """
    missing = [score for score in scores if score.value is None]
    n_failed = sum(bool(score.detail.get("failed")) for score in missing)
    reasons = Counter(score.reason for score in missing)
    return {"n_failed": n_failed, "n_missing": len(missing) - n_failed, "reasons": dict(sorted(reasons.items()))}


def total(
    metric: Metric, value: float, n: int, scores: Sequence[Score], ci: Interval | None = None, **detail: Any
) -> Score:
    """The total of a run: `value` over `n` units.

    `scores` are all scores of the run, for the counts of missing values. `detail["no_interval"]` says why there is no `ci`.
    """
    full_detail = {**missing_counts(scores), **detail}
    if ci is None:
        full_detail.setdefault("no_interval", f"fewer than {MIN_JACKKNIFE} values" if n < MIN_JACKKNIFE else NO_SPREAD)
    return Score(metric.name, metric.version, float(value), metric.unit, n, metric.better, ci=ci, detail=full_detail)


def pooled_interval(
    values: Sequence[float] | Floats, denominators: Sequence[float] | Floats | None, found: Sequence[Score]
) -> tuple[Interval | None, dict[str, Any]]:
    """The 95 % interval of sum(values) / sum(denominators) (of the mean, without denominators), one item per score of `found`.

    And its detail: `blocked_by` and `n_blocks`; where there are too few groups to resample, their number `n_groups` and the cluster-robust
    interval `cluster_ci`.
    """
    names = groups(found)
    parts = blocks(names, len(found))
    detail: dict[str, Any] = {"blocked_by": parts.unit, "n_blocks": parts.count}
    if parts.groups:
        detail |= {"n_groups": parts.groups, "cluster_ci": cluster_interval(values, denominators, names)}
    return bootstrap_interval(values, denominators, groups=names), detail


def missing_total(metric: Metric, scores: Sequence[Score], reason: str = "", **detail: Any) -> Score:
    """A total without a value; `reason` defaults to the most frequent one of the scenarios."""
    full_detail = {**missing_counts(scores), **detail}
    most_frequent = max(full_detail["reasons"], key=full_detail["reasons"].get, default="no scenarios")
    return Score(
        metric.name, metric.version, None, metric.unit, 0, metric.better, reason or most_frequent, detail=full_detail
    )


def rate_total(metric: Metric, hits: int, n: int, scores: Sequence[Score], **detail: Any) -> Score:
    """The total of a rate: `hits` / `n`, with Wilson's 95 % interval."""
    if not n:
        return missing_total(metric, scores, **detail)
    return total(metric, hits / n, n, scores, wilson(hits, n), hits=hits, interval="wilson", **detail)
