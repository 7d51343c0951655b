"""Conformance of metrics."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fobench.api.components import Metric
from fobench.api.scenario import Expect, Scenario, Turn
from fobench.api.trace import Failure, Reply, Trace, Utterance
from fobench.api.types import NS_PER_S, Action, Event, EventKind, Score
from fobench.conformance.checks import ContractViolation, Probe, need

# ---- Metrics ---------------------------------------------------------------------------------------------------------


def traces() -> dict[str, Trace]:
    """Traces that every metric must accept: a failed one, an empty one, one without a turn, and an answered question."""
    turn = Turn("question.wav", "", "What is the capital of France?", start_ns=0, end_ns=NS_PER_S)
    scenario = Scenario("conformance", "conformance", 0, (turn,), Expect(("Paris",)))
    empty = Trace(scenario, "virtual", "measured", 5 * NS_PER_S, compute={"input_ns": 1, "output_ns": 1})
    user = (Utterance(0, NS_PER_S // 2, 3 * NS_PER_S // 2),)
    reply = Reply(0, "It is Paris.", 2 * NS_PER_S, 2 * NS_PER_S, 3 * NS_PER_S, NS_PER_S, NS_PER_S)
    events = (
        Event(EventKind.TRANSCRIPT, {"text": "what is the capital of france"}, 0, 2 * NS_PER_S - 2),
        Event(EventKind.DECISION, {"action": str(Action.SPEAK)}, 0, 2 * NS_PER_S - 2),
        Event(EventKind.TOKEN, {"text": "It is Paris.", "reply": 0}, 0, 2 * NS_PER_S - 1),
        Event(EventKind.AUDIO, {"reply": 0, "duration_ns": NS_PER_S}, 0, 2 * NS_PER_S, 2 * NS_PER_S),
        Event(EventKind.REPLY_END, {"reply": 0}, NS_PER_S, 2 * NS_PER_S),
    )
    recorded: dict[str, Any] = {
        "routes": {"t2t": "Paris.", "a2t2t": "Paris."},
        "judge": {"reply": "it is paris", "floor": "what is the"},
    }
    return {
        "a failed trace": replace(empty, failure=Failure("raised", "for the test")),
        "an empty trace": empty,
        "a trace without a turn": replace(empty, scenario=replace(scenario, turns=())),
        "an answered question": replace(empty, user=user, replies=(reply,), events=events, **recorded),
    }


def metric_probes(metric: Metric) -> Sequence[tuple[str, Probe]]:
    subject = _MetricProbes(metric)
    return (
        ("name, version, unit", subject.labels),
        *((f"scores {name}", lambda trace=trace: subject.score(trace)) for name, trace in traces().items()),
        ("a failure has no score", subject.failure),
        ("aggregates", subject.aggregate),
        ("aggregates no scores", subject.no_scores),
    )


class _MetricProbes:
    def __init__(self, metric: Metric) -> None:
        self.metric = metric

    def labels(self) -> str:
        metric = self.metric
        need(isinstance(metric.name, str) and metric.name, f"name must be text, not {metric.name!r}")
        need(isinstance(metric.version, int), f"version must be an int, not {metric.version!r}")
        need(isinstance(metric.unit, str), f"unit must be text, not {metric.unit!r}")
        need(
            metric.better in ("higher", "lower", "none"), f"better must be higher, lower or none, not {metric.better!r}"
        )
        return f"{metric.name} v{metric.version}, {metric.unit or 'no unit'}, better: {metric.better}"

    def score(self, trace: Trace) -> str:
        """The score is valid and reproducible, and the trace is unchanged."""
        before = json.dumps(trace.to_json(), sort_keys=True)
        score = self.metric.score(trace, trace.scenario)
        again = self.metric.score(trace, trace.scenario)
        need(score == again, f"not pure: {score} became {again}")
        need(json.dumps(trace.to_json(), sort_keys=True) == before, "the trace was changed")
        need_score(score, "score()")
        for name in ("name", "version", "unit"):
            reported = score.metric if name == "name" else getattr(score, name)
            need(
                reported == getattr(self.metric, name),
                f"score has {name} {reported!r}, the metric {getattr(self.metric, name)!r}",
            )
        return _value(score)

    def failure(self) -> str:
        trace = traces()["a failed trace"]
        score = self.metric.score(trace, trace.scenario)
        wrong = self.metric.better == "higher" and score.value == 0
        need(score.value is None or wrong, f"must be None with a reason, or 0 if higher is better; is {score.value}")
        return score.reason or "counts as incorrect"

    def aggregate(self) -> str:
        scores = [self.metric.score(trace, trace.scenario) for trace in traces().values()]
        totals = self.metric.aggregate(scores)
        need(totals, "aggregate() gave no score")
        for total in totals:
            need_score(total, "aggregate()")
        need(self.metric.aggregate(scores) == totals, "aggregate() is not pure: it differs the second time")
        return "; ".join(f"{total.metric} {_value(total)}" for total in totals)

    def no_scores(self) -> str:
        for total in self.metric.aggregate([]):
            need_score(total, "aggregate([])")
            need(total.value is None, f"aggregate([]) gave {total.metric} the value {total.value}, must be None")
        return "no value"


def need_score(score: object, what: str) -> None:
    """Raises `ContractViolation` unless it is a `Score` with a finite value, or None and a reason."""
    if not isinstance(score, Score):
        raise ContractViolation(f"{what} must give a Score, not {type(score).__name__}")
    if score.value is None:
        need(score.reason, f"{what}: {score.metric} is None without a reason")
    else:
        need(math.isfinite(score.value), f"{what}: {score.metric} is {score.value}")
    need(isinstance(score.n, int) and score.n >= 0, f"{what}: {score.metric} has n={score.n!r}")
    json.dumps(dict(score.detail))


def _value(score: Score) -> str:
    return f"None ({score.reason})" if score.value is None else f"{score.value:g} {score.unit} (n={score.n})"
