"""Gaps in playback inside a reply: `underruns` (how many) and `underrun_ms` (how long)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import NS_PER_MS, Score
from fobench.statistics.bootstrap import blocks, bootstrap_ratio
from fobench_plugins.metrics.aggregation import failed, given, groups, known, missing, no_total, total


class Underruns:
    """A scenario's sum over its replies; a run's mean per played reply, with the sum as `total`."""

    version = 1
    better: Literal["higher", "lower", "none"] = "lower"

    def __init__(self, of: Literal["count", "ms"]) -> None:
        self.name = "underruns" if of == "count" else "underrun_ms"
        self.unit: str = of

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed(self, trace)
        played = [reply for reply in trace.replies if reply.start_ns is not None]
        if not played:
            return missing(self, "no reply", scenario)
        gaps = [gap.gap_ns for reply in played for gap in reply.underruns]
        value = len(gaps) if self.unit == "count" else sum(gaps) / NS_PER_MS
        return given(self, value, scenario, replies=len(played))

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        found = known(scores)
        if not found:
            return [no_total(self, scores)]
        values = [score.value or 0.0 for score in found]
        replies = [score.detail["replies"] for score in found]
        detail = {"total": sum(values), "max": max(values), "blocked_by": blocks(groups(found), len(found)).unit}
        ci = bootstrap_ratio(values, replies, groups(found))
        return [total(self, sum(values) / sum(replies), sum(replies), scores, ci, **detail)]
