"""Scores as the built-in metrics make them: one of a scenario, the total of a run, and the count of what is absent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from fobench.api.components import Metric
from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import Score
from fobench.statistics.bootstrap import Interval
from fobench.statistics.proportions import wilson


def given(metric: Metric, value: float, scenario: Scenario, **detail: Any) -> Score:
    """The score of one scenario. `detail["group"]` names the block that intervals are made by."""
    kept = {"group": scenario.group, **detail}
    return Score(metric.name, metric.version, float(value), metric.unit, 1, metric.better, detail=kept)


def missing(metric: Metric, reason: str, scenario: Scenario, **detail: Any) -> Score:
    """A scenario's score that cannot be given, and why."""
    kept = {"group": scenario.group, **detail}
    return Score(metric.name, metric.version, None, metric.unit, 0, metric.better, reason, detail=kept)


def failed(metric: Metric, trace: Trace) -> Score:
    """The missing score of a scenario that has a failure instead of a result."""
    assert trace.failure, "only a failed trace has a failed score"
    return missing(metric, f"failure: {trace.failure.kind}", trace.scenario, failed=True)


def known(scores: Sequence[Score]) -> list[Score]:
    """The scores that have a value."""
    return [score for score in scores if score.value is not None]


def groups(scores: Sequence[Score]) -> list[str]:
    return [str(score.detail.get("group", i)) for i, score in enumerate(scores)]


def absences(scores: Sequence[Score]) -> dict[str, Any]:
    """What has no value: `n_failed` scenarios, `n_missing` others, and all their reasons counted."""
    absent = [score for score in scores if score.value is None]
    n_failed = sum(bool(score.detail.get("failed")) for score in absent)
    reasons = Counter(score.reason for score in absent)
    return {"n_failed": n_failed, "n_missing": len(absent) - n_failed, "reasons": dict(sorted(reasons.items()))}


def total(
    metric: Metric, value: float, n: int, scores: Sequence[Score], ci: Interval | None = None, **detail: Any
) -> Score:
    """A run's total of `value` over `n`; `scores` are all of the run's, for the count of what is absent."""
    counted = {**absences(scores), **detail}
    return Score(metric.name, metric.version, float(value), metric.unit, n, metric.better, ci=ci, detail=counted)


def no_total(metric: Metric, scores: Sequence[Score], reason: str = "", **detail: Any) -> Score:
    """The total that cannot be given; the reason is the commonest one of the scenarios if none is named."""
    counted = {**absences(scores), **detail}
    common = max(counted["reasons"], key=counted["reasons"].get, default="no scenarios")
    return Score(metric.name, metric.version, None, metric.unit, 0, metric.better, reason or common, detail=counted)


def share(metric: Metric, hits: int, n: int, scores: Sequence[Score], **detail: Any) -> Score:
    """The total of a rate: `hits` of `n`, with Wilson's 95 % interval."""
    if not n:
        return no_total(metric, scores, **detail)
    return total(metric, hits / n, n, scores, wilson(hits, n), hits=hits, interval="wilson", **detail)
