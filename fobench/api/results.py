"""The results of a scored run, the input of reporters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fobench.api.trace import Trace
from fobench.api.types import Score


@dataclass(frozen=True, slots=True)
class Results:
    """A scored run. `run`: run.json; `traces`: in suite order; `scores[i]`: of `traces[i]`; `totals`: the aggregates.

    `by_tag`: the accuracies by tag, {tag: {value: {metric: {"value", "n"}}}}. `by_family`: rates and latencies of each
    duplex family, {family: {metric: {"value", "n", "ci"}}}; empty for a single family.
    """

    folder: Path
    run: Mapping[str, Any]
    traces: Sequence[Trace]
    scores: Sequence[Sequence[Score]]
    totals: Sequence[Score]
    by_tag: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]] = field(default_factory=dict)
    by_family: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def planned(self) -> int:
        """The number of scenarios of the run, finished or not."""
        return max(len(self.run.get("scenarios") or ()), len(self.traces))

    def total(self, metric: str) -> Score | None:
        """The aggregate of `metric`, or None without one."""
        return next((score for score in self.totals if score.metric == metric), None)
