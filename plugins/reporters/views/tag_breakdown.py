"""Accuracy by the scenarios' tags (subject, level, ...)."""

from __future__ import annotations

from collections.abc import Mapping

from fobench.api.results import Results
from fobench.api.types import Score
from fobench.statistics.proportions import wilson
from fobench_plugins.reporters.html.charts import TagTable, tag_table
from fobench_plugins.reporters.views.formatting import given, line

SPOKEN = ("accuracy_s2s", "accuracy_s2t")
WRITTEN = "accuracy_t2t"
MOST_VALUES = 40  # a tag with more (an id, say) groups nothing


def tag_tables(results: Results) -> list[TagTable]:
    """A table a tag with at least two values, by the spoken route that the run has."""
    route = next((name for name in SPOKEN if given(results.total(name)) is not None), None)
    if route is None:
        return []
    tags = dict.fromkeys(key for trace in results.traces for key in trace.scenario.tags)
    grouped = ((tag, by_tag(results, route, tag), by_tag(results, WRITTEN, tag)) for tag in tags)
    return [tag_table(line(t), spoken, written) for t, spoken, written in grouped if 1 < len(spoken) <= MOST_VALUES]


def by_tag(results: Results, metric: str, tag: str) -> Mapping[str, Score]:
    """{value of the tag: the metric's share over its scenarios}, values in alphabetical order."""
    groups: dict[str, list[float]] = {}
    for trace, scores in zip(results.traces, results.scores, strict=True):
        score = next((s for s in scores if s.metric == metric), None)
        if tag in trace.scenario.tags and (value := given(score)) is not None:
            groups.setdefault(line(trace.scenario.tags[tag]), []).append(value)
    return {name: _share(metric, groups[name]) for name in sorted(groups)}


def _share(metric: str, values: list[float]) -> Score:
    right = sum(value >= 1 for value in values)
    return Score(metric, 1, right / len(values), "fraction", len(values), "higher", ci=wilson(right, len(values)))
