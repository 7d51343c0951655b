"""Accuracy of the replies, one metric per route: `accuracy_t2t`, `accuracy_a2t2t`, `accuracy_s2t`, `accuracy_s2s`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from typing import Literal

from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import Score
from fobench_plugins.metrics.aggregation import (
    missing_score,
    missing_total,
    rate_total,
    scenario_score,
    scores_with_value,
)
from fobench_plugins.metrics.correctness import Correctness, Route, is_route_judged, judge_reply

VERDICT = tuple(field.name for field in fields(Correctness))


class Accuracy:
    """Accuracy = correct replies / scenarios that could be judged, with Wilson's 95 % interval.

    A reply is correct if its normalized text contains an accepted answer, or takes the right option of a
    multiple-choice question. This matches words, not meaning: "it is not Paris" contains Paris. Thoughts of a reasoning
    model (`<think>...</think>`) are no part of a reply. Routes: t2t is text in, text out; a2t2t gives the LLM the system's own transcript; s2t
    takes the text of the reply to the spoken question; s2s takes the reference ASR's transcript of that reply. A
    missing reply is wrong ("no reply"). On the speech routes a failure of the system (exception, timeout, crash,
    invalid audio) is wrong as well, and counted in `failures`.
    """

    version = 2
    unit = "share"
    better: Literal["higher", "lower", "none"] = "higher"

    def __init__(self, route: Route) -> None:
        self.name = f"accuracy_{route}"
        self.route = route

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        result = judge_reply(trace, self.route)
        verdict = {name: getattr(result, name) for name in VERDICT}
        if result.right is None:
            return missing_score(self, result.reason, scenario, failed=result.failed, verdict=verdict)
        return scenario_score(self, result.right, scenario, failed=result.failed, verdict=verdict)

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        verdicts = [Correctness(**score.detail["verdict"]) for score in scores if "verdict" in score.detail]
        wrong = Counter(v.reason for v in verdicts if v.right is False)
        counts = {
            "n_no_reply": wrong["no reply"],
            "n_unparsed": wrong["unparsed"],
            "failures": {reason: n for reason, n in sorted(wrong.items()) if reason.startswith("failure")},
        }
        if not is_route_judged(verdicts):
            reason = next(v.reason for v in verdicts if v.unavailable)
            return [missing_total(self, scores, reason, **counts)]
        return [
            rate_total(self, sum(v.right is True for v in verdicts), len(scores_with_value(scores)), scores, **counts)
        ]
