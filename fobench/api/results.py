"""A run's results: what the scorers computed and the reporters show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fobench.api.trace import Trace
from fobench.api.types import Score


@dataclass(frozen=True, slots=True)
class Results:
    """`run` is run.json; `traces` are in suite order; `scores[i]` are those of `traces[i]`; `totals` the aggregates.

    `by_tag`: the accuracies apart by tag, {tag: {value: {metric: {"value", "n"}}}}. `by_family`: rates and latencies of each
    duplex family, {family: {metric: {"value", "n", "ci"}}}; empty where there is but one.
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
        """How many scenarios the run has, done or not."""
        return max(len(self.run.get("scenarios") or ()), len(self.traces))

    def total(self, metric: str) -> Score | None:
        """The aggregate named `metric`, or None if no metric gave one."""
        return next((score for score in self.totals if score.metric == metric), None)
