"""A metric of another package, in a process of its own: what it raises, returns or does is its own recorded failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal

from fobench import outside_files
from fobench.api import registry
from fobench.api.components import Metric
from fobench.api.plain_data import plain
from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import Score
from fobench.errors import FobenchError, SystemFailure
from fobench.process_host import ProcessHost

LIMIT_S = 60.0  # for one score, one aggregate, or the creation
DEATHS = 3  # of the metric's process, after which it is given up; one that hangs is given up at once

Labels = tuple[str, int, str, Literal["higher", "lower", "none"]]  # name, version, unit, better


class MetricRunner:
    """The metric in its process. Raises ValueError or TypeError for a score that cannot be recorded."""

    def __init__(self, name: str, options: Mapping[str, Any] | None) -> None:
        self._metric: Metric = registry.create("metrics", name, options)

    def labels(self) -> Labels:
        metric = self._metric
        example = Score(metric.name, metric.version, None, metric.unit, 0, metric.better)
        checked = checked_score(example, metric.name, "the metric")
        return checked.metric, checked.version, checked.unit, checked.better

    def score(self, trace: Trace) -> Score:
        score = checked_score(self._metric.score(trace, trace.scenario), self._metric.name, "score()")
        if score.metric != self._metric.name:
            raise ValueError(f"score() returned a score of {score.metric!r}, not of {self._metric.name!r}")
        return score

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        totals = self._metric.aggregate(scores)
        return [checked_score(total, self._metric.name, "aggregate()") for total in totals]


class HostedMetric:
    """The metric `name` in a `MetricRunner`'s process. One that cannot be created fails on every trace."""

    def __init__(self, name: str, options: Mapping[str, Any] | None = None) -> None:
        self._host = ProcessHost(MetricRunner, (name, options), time_limit_s=LIMIT_S, load_limit_s=LIMIT_S)
        self._problem, self._deaths = "", 0
        try:
            labels: Labels = self._host.call("labels")
            self.name, self.version, self.unit, self.better = labels
        except FobenchError as error:
            self.give_up(name, str(error))

    def give_up(self, name: str, problem: str) -> None:
        """Fails on every trace from now on, as the metric `name`."""
        self.name, self.version, self.unit, self.better = name, 0, "", "none"
        self._problem = problem

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        score: Score = self._call("score", trace)
        return score

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        totals: list[Score] = self._call("aggregate", list(scores))
        return totals

    def stop(self) -> None:
        self._host.stop()

    def _call(self, method: str, argument: Any) -> Any:
        if self._problem:
            raise FobenchError(self._problem)
        try:
            return self._host.call(method, argument)
        except SystemFailure as error:
            self._deaths += error.kind == "died"
            if error.kind == "hung" or self._deaths >= DEATHS:
                self._problem = f"{error}; it was not asked again"
            raise


def checked_score(score: Any, name: str, where: str) -> Score:
    """`score` made of plain data. Raises ValueError or TypeError, beginning with `where`, for one that cannot be recorded."""
    if not isinstance(score, Score):
        raise TypeError(f"{where} must return a Score, not {type(score).__name__}")
    data = plain({field.name: getattr(score, field.name) for field in fields(Score)}, where)
    data["reason"] = data["reason"] or ("" if data["value"] is not None else "no reason was given")
    try:
        checked = outside_files.record(Score, data)
    except ValueError as error:
        raise ValueError(f"{where} has a score that is not valid: {error}") from error
    if checked.n < 0 or not checked.metric.startswith(name):
        raise ValueError(f"{where} has a score of {checked.metric!r} with n={checked.n}")
    return checked
