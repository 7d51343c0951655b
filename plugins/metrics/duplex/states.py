"""Turn states: 0 (keep listening), 1 (end of turn: reply), 2 (end of turn: do not reply); arXiv 2411.00774, section
3.4.

A case is one user utterance. Its true state follows from its role. Its predicted state is the first 1 or 2 that the
system reports from the start of the utterance until the user next speaks, at most 3.0 s after its end; 0 if there is
none. Audio is not used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from fobench.api.scenario import ASKING_ROLES, Scenario
from fobench.api.trace import Trace, Utterance
from fobench.api.types import NS_PER_S, Action, EventKind, Score
from fobench.statistics.bootstrap import blocks
from fobench.statistics.percentiles import percentiles
from fobench_plugins.metrics.aggregation import (
    failed_score,
    groups,
    missing_score,
    missing_total,
    scenario_score,
    scores_with_value,
    total,
)
from fobench_plugins.metrics.duplex import floor_spans
from fobench_plugins.metrics.latency import spread

Source = Literal["states", "decisions"]
WINDOW_NS = 3 * NS_PER_S  # after an utterance's end, in which a predicted state counts for it
STATES = (0, 1, 2)
DECISION_STATES: dict[str, int] = {Action.SPEAK: 1, Action.IGNORE: 2}
NO_STATES = "the system reports no states"


class StateF1:
    """Macro F1: the mean F1 over the states that occur.

    `confusion[true][predicted]` (counts) and the F1 of each state are in detail.
    """

    version = 1
    unit = "share"
    better: Literal["higher", "lower", "none"] = "higher"

    def __init__(self, name: str, source: Source) -> None:
        self.name = name
        self._source: Source = source

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed_score(self, trace)
        if not trace.user:
            return missing_score(self, "the user said nothing", scenario)
        if self._source == "states" and not trace.of(EventKind.STATE):
            return missing_score(self, NO_STATES, scenario)
        cases = [(true_state(trace, u), self._predicted_state(trace, u)) for u in trace.user]
        return scenario_score(self, sum(a == b for a, b in cases) / len(cases), scenario, cases=cases)

    def _predicted_state(self, trace: Trace, utterance: Utterance) -> int:
        return next(
            (state for at_ns, state in state_predictions(trace, self._source) if _within(trace, utterance, at_ns)), 0
        )

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        cases = [tuple(case) for score in scores_with_value(scores) for case in score.detail["cases"]]
        if not cases:
            return [missing_total(self, scores)]
        confusion = [[cases.count((true, predicted)) for predicted in STATES] for true in STATES]
        per_state = {str(state): f1(confusion, state) for state in STATES}
        occurring = [value for value in per_state.values() if value is not None]
        right = sum(a == b for a, b in cases) / len(cases)
        detail = {"confusion": confusion, "f1": per_state, "accuracy": right}
        return [total(self, sum(occurring) / len(occurring), len(cases), scores, **detail)]


class StateDelay:
    """Input chunks between an utterance's true end and its predicted 1 or 2: median, spread in detail; negative:
    before the end.
    """

    name = "state_delay_chunks"
    version = 1
    unit = "chunks"
    better: Literal["higher", "lower", "none"] = "lower"

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed_score(self, trace)
        judged = list(state_predictions(trace, "states", include_zero=True))
        if not judged:
            return missing_score(self, NO_STATES, scenario)
        delays = [d for u in trace.user if true_state(trace, u) and (d := _delay(trace, u, judged)) is not None]
        if not delays:
            return missing_score(self, "no turn's end was told", scenario)
        return scenario_score(self, sum(delays) / len(delays), scenario, values=delays)

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        found = scores_with_value(scores)
        if not found:
            return [missing_total(self, scores)]
        values = [float(value) for score in found for value in score.detail["values"]]
        names = [name for score, name in zip(found, groups(found), strict=True) for _ in score.detail["values"]]
        summary = percentiles(values, names)
        by = blocks(names, len(names)).unit
        return [total(self, summary.p50, summary.n, scores, summary.p50_ci, **spread(values, summary), blocked_by=by)]


def true_state(trace: Trace, utterance: Utterance) -> int:
    """The true state at the end of an utterance: 1 after a question or request, 0 after a fragment, 2 after anything
    else.
    """
    role = floor_spans.role(trace, utterance)
    return 1 if role in ASKING_ROLES else 0 if role == "fragment" else 2


def state_predictions(trace: Trace, source: Source, include_zero: bool = False) -> Iterator[tuple[int, int]]:
    """(media time in ns, state) of each predicted 1 or 2, and of each 0 if `include_zero`; the state of the largest
    probability.
    """
    for event in trace.events:
        state = None
        if source == "states" and event.kind == EventKind.STATE:
            state = max(STATES, key=lambda s: float(event.data.get(f"p{s}", 0.0)))
        elif source == "decisions" and event.kind == EventKind.DECISION:
            state = DECISION_STATES.get(str(event.data.get("action")))
        if event.media_ns is not None and state is not None and (state or include_zero):
            yield event.media_ns, state


def f1(confusion: Sequence[Sequence[int]], state: int) -> float | None:
    """F1 = 2 TP / (2 TP + FP + FN); None for a state that neither occurs nor is predicted."""
    true, predicted = sum(confusion[state]), sum(row[state] for row in confusion)
    return 2 * confusion[state][state] / (true + predicted) if true + predicted else None


def _within(trace: Trace, utterance: Utterance, at_ns: int) -> bool:
    following = [u.start_ns for u in trace.user if u.start_ns > utterance.start_ns]
    return utterance.start_ns <= at_ns < min([utterance.end_ns + WINDOW_NS, *following])


def _delay(trace: Trace, utterance: Utterance, judged: Sequence[tuple[int, int]]) -> int | None:
    """Chunks between the true end and the prediction; None if neither 1 nor 2 was predicted."""
    predicted = next((at_ns for at_ns, state in judged if state and _within(trace, utterance, at_ns)), None)
    if predicted is None:
        return None
    low, high = sorted((predicted, utterance.end_ns))
    chunks = sum(low < at_ns <= high for at_ns, _ in judged)
    return chunks if predicted >= utterance.end_ns else -chunks
