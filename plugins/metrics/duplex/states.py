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
from fobench_plugins.metrics.latency import early_counts, spread

Source = Literal["states", "decisions"]
WINDOW_NS = 3 * NS_PER_S  # after an utterance's end, in which a predicted state counts for it
STATES = (0, 1, 2)
DECISION_STATES: dict[str, int] = {Action.SPEAK: 1, Action.IGNORE: 2}
STATE_FIGURES = ("precision", "recall", "f1", "support")
NO_STATES = "the system reports no states"


class StateF1:
    """Macro F1: the mean F1 over the true states that occur.

    `confusion[true][predicted]` (counts), and `precision`, `recall`, `f1` and `support` (number of true cases) of each
    state are in detail. A predicted state that never occurs has no F1, and lowers the recall of the others.
    """

    version = 2
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
        per_state = {str(state): state_scores(confusion, state) for state in STATES}
        by_figure = {figure: {state: found[figure] for state, found in per_state.items()} for figure in STATE_FIGURES}
        occurring = [value for value in by_figure["f1"].values() if value is not None]
        right = sum(a == b for a, b in cases) / len(cases)
        detail = {"confusion": confusion, **by_figure, "accuracy": right, "no_interval": ""}
        return [total(self, sum(occurring) / len(occurring), len(cases), scores, **detail)]


class StateDelay:
    """Input chunks between an utterance's true end and its predicted 1 or 2: median of the predictions from the end on,
    spread in detail. Predictions before the end are negative in a scenario; the total counts them (`early`,
    `early_share`).
    """

    name = "state_delay_chunks"
    version = 2
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
        in_time = [delay for delay in delays if delay >= 0]
        parts = [sum(in_time), len(in_time)]  # for comparisons
        return scenario_score(self, sum(delays) / len(delays), scenario, values=delays, parts=parts)

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        found = scores_with_value(scores)
        timed = [
            (float(value), name)
            for score, name in zip(found, groups(found), strict=True)
            for value in score.detail["values"]
        ]
        values, names = [value for value, _ in timed if value >= 0], [name for value, name in timed if value >= 0]
        counts = early_counts(values, len(timed) - len(values))
        if not values:
            return [missing_total(self, scores, "every state was told before the end" if timed else "", **counts)]
        summary = percentiles(values, names)
        return [total(self, summary.p50, summary.n, scores, summary.p50_ci, **spread(values, summary, names), **counts)]


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


def state_scores(confusion: Sequence[Sequence[int]], state: int) -> dict[str, float | None]:
    """Precision, recall, F1 = 2 TP / (2 TP + FP + FN) and support of a state; recall and F1 are None for one that does not
    occur, precision for one that is never predicted.
    """
    support, predicted, hits = sum(confusion[state]), sum(row[state] for row in confusion), confusion[state][state]
    return {
        "precision": hits / predicted if predicted else None,
        "recall": hits / support if support else None,
        "f1": 2 * hits / (support + predicted) if support else None,
        "support": support,
    }


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
