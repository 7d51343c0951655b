"""The results of a scored run, the input of reporters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fobench.api.trace import Trace
from fobench.api.types import Score

RESPONSE = "response_ms"
EARLY_LIMIT = 0.05  # with a larger share of early replies, a median over the others is no summary of a run


@dataclass(frozen=True, slots=True)
class LimitOutcome:
    """Whether a run keeps an absolute limit. `text`: the limit as written; `value`: the metric's, in `unit`, None without one;
    `why`: why it is not kept, in words. `scenario`, `turn`: what it is of; "" and None: the whole run, the whole scenario.
    """

    text: str
    metric: str
    unit: str
    value: float | None
    kept: bool
    why: str = ""
    scenario: str = ""
    turn: int | None = None

    @property
    def name(self) -> str:
        """The limit with its scenario and turn, e.g. "stop-1, turn 1: expect = stop"."""
        place = self.scenario if self.turn is None else f"{self.scenario}, turn {self.turn}"
        return f"{place}: {self.text}" if place else self.text


@dataclass(frozen=True, slots=True)
class Results:
    """A scored run. `run`: run.json; `traces`: in suite order; `scores[i]`: of `traces[i]`; `totals`: the aggregates.

    `by_tag`: the accuracies by tag, {tag: {value: {metric: {"value", "n"}}}}. `by_family`: rates and latencies of each
    duplex family, {family: {metric: {"value", "n", "ci"}}}; empty for a single family. `limits`: the outcomes of its absolute
    limits.
    """

    folder: Path
    run: Mapping[str, Any]
    traces: Sequence[Trace]
    scores: Sequence[Sequence[Score]]
    totals: Sequence[Score]
    by_tag: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]] = field(default_factory=dict)
    by_family: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    limits: Sequence[LimitOutcome] = ()

    @property
    def planned(self) -> int:
        """The number of scenarios of the run, finished or not."""
        return max(len(self.run.get("scenarios") or ()), len(self.traces))

    def total(self, metric: str) -> Score | None:
        """The aggregate of `metric`, or None without one."""
        return next((score for score in self.totals if score.metric == metric), None)


def early_share(score: Score) -> float:
    """The share of a latency's replies that began before the user's end; 0 for a metric that counts none.

    Without a count, a negative median says that half of them are.
    """
    share = score.detail.get("early_share")
    if isinstance(share, int | float):
        return float(share)
    early = score.detail.get("early")
    if isinstance(early, int) and score.n:
        return early / score.n
    return 0.5 if score.value is not None and score.value < 0 else 0.0
