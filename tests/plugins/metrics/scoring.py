"""Scores of traces by a metric that is named, as a run makes them."""

from __future__ import annotations

from typing import Any

from fobench.api import registry
from fobench.api.trace import Trace
from fobench.api.types import Score


def scored(metric: str, *traces: Trace, **options: Any) -> tuple[list[Score], Score]:
    """(the score of each trace, the first total)."""
    made = registry.create("metrics", metric, options)
    scores = [made.score(trace, trace.scenario) for trace in traces]
    return scores, made.aggregate(scores)[0]


def score(metric: str, trace: Trace, **options: Any) -> Score:
    return registry.create("metrics", metric, options).score(trace, trace.scenario)


def total(metric: str, traces: list[Trace]) -> Score:
    return scored(metric, *traces)[1]
