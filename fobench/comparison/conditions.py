"""A run under several conditions: each one's change from the clean condition, over the scenarios that have a value in both."""

from __future__ import annotations

from collections.abc import Collection

from fobench.api.results import Results
from fobench.api.scenario import CLEAN, CONDITION
from fobench.comparison.metric_delta import MetricDelta, metric_deltas
from fobench.comparison.paired_scores import common_ids, pair_scores
from fobench.comparison.snapshot import Snapshot


def conditions(results: Results) -> list[str]:
    """The conditions of the run's scenarios, in their order; empty where they have none."""
    return [*dict.fromkeys(t.scenario.tags[CONDITION] for t in results.traces if CONDITION in t.scenario.tags)]


def condition_deltas(results: Results, metrics: Collection[str]) -> dict[str, list[MetricDelta]]:
    """{condition: the changes of `metrics` from the clean scenarios to their twins}; {} without a clean one.

    A scenario is paired with its clean twin (`Scenario.clean_id`), and the pairs are resampled as those of two runs.
    """
    names = conditions(results)
    if CLEAN not in names:
        return {}
    clean = Snapshot.of_condition(results, CLEAN, metrics)
    found = {}
    for name in names:
        heard = Snapshot.of_condition(results, name, metrics)
        if name != CLEAN and (pairs := list(pair_scores(clean, heard))):
            found[name] = metric_deltas(pairs, len(common_ids(clean, heard)))
    return found
