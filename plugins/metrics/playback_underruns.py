"""Playback underruns inside a reply: `underruns` (count) and `underrun_ms` (duration)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import NS_PER_MS, Score
from fobench_plugins.metrics.aggregation import (
    failed_score,
    missing_score,
    missing_total,
    pooled_interval,
    scenario_score,
    scores_with_value,
    total,
)


class Underruns:
    """Underruns of the playback buffer.

    A scenario's value is the sum over its replies; the total is the mean per played reply, the sum is in detail.
    """

    version = 1
    better: Literal["higher", "lower", "none"] = "lower"

    def __init__(self, of: Literal["count", "ms"]) -> None:
        self.name = "underruns" if of == "count" else "underrun_ms"
        self.unit: str = of

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed_score(self, trace)
        played = [reply for reply in trace.replies if reply.start_ns is not None]
        if not played:
            return missing_score(self, "no reply", scenario)
        gaps = [gap.gap_ns for reply in played for gap in reply.underruns]
        value = len(gaps) if self.unit == "count" else sum(gaps) / NS_PER_MS
        return scenario_score(self, value, scenario, replies=len(played))

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        found = scores_with_value(scores)
        if not found:
            return [missing_total(self, scores)]
        values = [score.value or 0.0 for score in found]
        replies = [score.detail["replies"] for score in found]
        ci, blocked = pooled_interval(values, replies, found)
        detail = {"total": sum(values), "max": max(values), **blocked}
        return [total(self, sum(values) / sum(replies), sum(replies), scores, ci, **detail)]
