"""Accuracy by the scenarios' tags (subject, level, ...)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fobench.api.results import Results
from fobench.api.types import Score
from fobench.formatting import one_line
from fobench.statistics.proportions import wilson
from fobench_plugins.reporters.views.formatting import finite_value

SPEECH_ROUTES = ("accuracy_s2s", "accuracy_s2t")
TEXT_ROUTE = "accuracy_t2t"
MOST_VALUES = 40  # a tag with more (an id, say) groups nothing


@dataclass(frozen=True, slots=True)
class TagTable:
    """Accuracy by the values of one tag: speech-in, and text-in for comparison."""

    tag: str
    speech: Mapping[str, Score]
    text: Mapping[str, Score]


def tag_tables(results: Results) -> list[TagTable]:
    """A table per tag with at least two values, by the first speech route that the run has."""
    route = next((name for name in SPEECH_ROUTES if finite_value(results.total(name)) is not None), None)
    if route is None:
        return []
    tags = dict.fromkeys(key for trace in results.traces for key in trace.scenario.tags)
    tables = [TagTable(one_line(tag), by_tag(results, route, tag), by_tag(results, TEXT_ROUTE, tag)) for tag in tags]
    return [table for table in tables if 1 < len(table.speech) <= MOST_VALUES]


def by_tag(results: Results, metric: str, tag: str) -> Mapping[str, Score]:
    """{value of the tag: the metric's share over its scenarios}, values in alphabetical order."""
    groups: dict[str, list[float]] = {}
    for trace, scores in zip(results.traces, results.scores, strict=True):
        score = next((s for s in scores if s.metric == metric), None)
        if tag in trace.scenario.tags and (value := finite_value(score)) is not None:
            groups.setdefault(one_line(trace.scenario.tags[tag]), []).append(value)
    return {name: _share(metric, groups[name]) for name in sorted(groups)}


def _share(metric: str, values: list[float]) -> Score:
    correct = sum(value >= 1 for value in values)
    ci = wilson(correct, len(values))
    return Score(metric, 1, correct / len(values), "fraction", len(values), "higher", ci=ci)
