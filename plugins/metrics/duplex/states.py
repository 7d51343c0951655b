"""Duplex states 0 (keep listening), 1 (the turn is over: answer), 2 (it is over: do not answer), apart from any sound.

A case is one utterance of the user. Its true state follows from its role; the predicted one is the first 1 or 2 that the
system tells from the utterance's start until the user next speaks, or 3.0 s after its end; 0 if it tells neither.
(The states: arXiv 2411.00774, section 3.4.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from fobench.api.scenario import ASKING_ROLES, Scenario
from fobench.api.trace import Trace, Utterance
from fobench.api.types import NS_PER_S, Action, EventKind, Score
from fobench.statistics.bootstrap import blocks
from fobench.statistics.percentiles import percentiles
from fobench_plugins.metrics.aggregation import failed, given, groups, known, missing, no_total, total
from fobench_plugins.metrics.duplex import floor_spans
from fobench_plugins.metrics.latency import spread

Source = Literal["states", "decisions"]
WINDOW_NS = 3 * NS_PER_S  # after an utterance's end in which its state is awaited
STATES = (0, 1, 2)
ACTED: dict[str, int] = {Action.SPEAK: 1, Action.IGNORE: 2}
NO_STATES = "the system reports no states"


class StateF1:
    """Macro F1 over the states that occur; `confusion[true][predicted]` counts, and F1 of each state, in detail."""

    version = 1
    unit = "share"
    better: Literal["higher", "lower", "none"] = "higher"

    def __init__(self, name: str, source: Source) -> None:
        self.name = name
        self._source: Source = source

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed(self, trace)
        if not trace.user:
            return missing(self, "the user said nothing", scenario)
        if self._source == "states" and not trace.of(EventKind.STATE):
            return missing(self, NO_STATES, scenario)
        cases = [(truth(trace, u), self._told(trace, u)) for u in trace.user]
        return given(self, sum(a == b for a, b in cases) / len(cases), scenario, cases=cases)

    def _told(self, trace: Trace, utterance: Utterance) -> int:
        return next((state for at, state in tellings(trace, self._source) if _within(trace, utterance, at)), 0)

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        cases = [tuple(case) for score in known(scores) for case in score.detail["cases"]]
        if not cases:
            return [no_total(self, scores)]
        confusion = [[cases.count((true, told)) for told in STATES] for true in STATES]
        per_state = {str(state): f1(confusion, state) for state in STATES}
        occurring = [value for value in per_state.values() if value is not None]
        right = sum(a == b for a, b in cases) / len(cases)
        detail = {"confusion": confusion, "f1": per_state, "accuracy": right}
        return [total(self, sum(occurring) / len(occurring), len(cases), scores, **detail)]


class StateDelay:
    """Chunks judged from an utterance's true end until its 1 or 2 is told: p50, spread in detail; negative: before the end."""

    name = "state_delay_chunks"
    version = 1
    unit = "chunks"
    better: Literal["higher", "lower", "none"] = "lower"

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed(self, trace)
        judged = list(tellings(trace, "states", every=True))
        if not judged:
            return missing(self, NO_STATES, scenario)
        delays = [d for u in trace.user if truth(trace, u) and (d := _delay(trace, u, judged)) is not None]
        if not delays:
            return missing(self, "no turn's end was told", scenario)
        return given(self, sum(delays) / len(delays), scenario, values=delays)

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        found = known(scores)
        if not found:
            return [no_total(self, scores)]
        values = [float(value) for score in found for value in score.detail["values"]]
        names = [name for score, name in zip(found, groups(found), strict=True) for _ in score.detail["values"]]
        summary = percentiles(values, names)
        by = blocks(names, len(names)).unit
        return [total(self, summary.p50, summary.n, scores, summary.p50_ci, **spread(values, summary), blocked_by=by)]


def truth(trace: Trace, utterance: Utterance) -> int:
    """The state at the utterance's end: 1 after what asks, 0 after a fragment, 2 after all else."""
    role = floor_spans.role(trace, utterance)
    return 1 if role in ASKING_ROLES else 0 if role == "fragment" else 2


def tellings(trace: Trace, source: Source, every: bool = False) -> Iterator[tuple[int, int]]:
    """(media time, state) of each 1 or 2 that was told, 0 as well if `every`; states by the largest probability."""
    for event in trace.events:
        state = None
        if source == "states" and event.kind == EventKind.STATE:
            state = max(STATES, key=lambda s: float(event.data.get(f"p{s}", 0.0)))
        elif source == "decisions" and event.kind == EventKind.DECISION:
            state = ACTED.get(str(event.data.get("action")))
        if event.media_ns is not None and state is not None and (state or every):
            yield event.media_ns, state


def f1(confusion: Sequence[Sequence[int]], state: int) -> float | None:
    """2 TP / (2 TP + FP + FN); None for a state that is neither true nor told anywhere."""
    true, told = sum(confusion[state]), sum(row[state] for row in confusion)
    return 2 * confusion[state][state] / (true + told) if true + told else None


def _within(trace: Trace, utterance: Utterance, at: int) -> bool:
    following = [u.start_ns for u in trace.user if u.start_ns > utterance.start_ns]
    return utterance.start_ns <= at < min([utterance.end_ns + WINDOW_NS, *following])


def _delay(trace: Trace, utterance: Utterance, judged: Sequence[tuple[int, int]]) -> int | None:
    """Chunks between the true end and the telling, or None if it was never told."""
    told = next((at for at, state in judged if state and _within(trace, utterance, at)), None)
    if told is None:
        return None
    low, high = sorted((told, utterance.end_ns))
    chunks = sum(low < at <= high for at, _ in judged)
    return chunks if told >= utterance.end_ns else -chunks
