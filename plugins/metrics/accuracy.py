"""Accuracy of the replies, one metric a route: `accuracy_t2t`, `accuracy_a2t2t`, `accuracy_s2t`, `accuracy_s2s`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import Score
from fobench_plugins.metrics.aggregation import given, known, missing, no_total, share
from fobench_plugins.metrics.correctness import Correctness, Route, judged, verdict


class Accuracy:
    """Share of scenarios whose reply holds an accepted answer (normalised containment; multiple choice parsed).

    t2t: text in, text out. a2t2t: the system's own transcript in. s2t: the text of the spoken question's reply. s2s: what
    an independent recogniser heard of it. No reply is wrong ("no reply"); on the spoken routes a failure of the system
    (it raised, hung, died or gave bad audio) is wrong as well, and counted in `failures`. Wilson's 95 % interval.
    """

    version = 1
    unit = "share"
    better: Literal["higher", "lower", "none"] = "higher"

    def __init__(self, route: Route) -> None:
        self.name = f"accuracy_{route}"
        self.route = route

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        found = verdict(trace, self.route)
        if found.right is None:
            return missing(self, found.reason, scenario, failed=found.failed, verdict=asdict(found))
        return given(self, found.right, scenario, failed=found.failed, verdict=asdict(found))

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        verdicts = [Correctness(**score.detail["verdict"]) for score in scores if "verdict" in score.detail]
        wrong = Counter(v.reason for v in verdicts if v.right is False)
        counts = {
            "n_no_reply": wrong["no reply"],
            "n_unparsed": wrong["unparsed"],
            "failures": {reason: n for reason, n in sorted(wrong.items()) if reason.startswith("failure")},
        }
        if not judged(verdicts):
            reason = next(v.reason for v in verdicts if v.unavailable)
            return [no_total(self, scores, reason, **counts)]
        return [share(self, sum(v.right is True for v in verdicts), len(known(scores)), scores, **counts)]
