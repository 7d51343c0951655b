"""Latencies, each named for its origin and its end: see the functions below. Milliseconds on the playback timeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from fobench.api.scenario import Scenario
from fobench.api.trace import Trace, Utterance
from fobench.api.types import NS_PER_MS, EventKind, Score
from fobench.statistics.bootstrap import blocks
from fobench.statistics.percentiles import Percentiles, percentiles
from fobench_plugins.metrics.aggregation import failed, given, groups, known, missing, no_total, total
from fobench_plugins.metrics.duplex import floor_spans

Span = int | str  # ns, or why there is none
Measure = Callable[[Trace], list[Span]]

NOT_ASKED = "the question was not asked"
NOT_DECIDED = "the system never decided to speak"


class Latency:
    """p50 with its 95 % bootstrap interval; p90 (from n = 10), p99 (from n = 100), mean and extremes in detail.

    Negative values are kept, and counted as `early`. Warm-up is excluded: the runner's warm-up scenario leaves no trace.
    A scenario with several interruptions has their mean as its value; the total is over single interruptions.
    """

    version = 1
    unit = "ms"
    better: Literal["higher", "lower", "none"] = "lower"

    def __init__(self, name: str, measure: Measure) -> None:
        self.name, self._spans = name, measure

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed(self, trace)
        spans = self._spans(trace)
        values = [span / NS_PER_MS for span in spans if isinstance(span, int)]
        absent = [span for span in spans if isinstance(span, str)]
        if not values:
            return missing(self, absent[0], scenario, absent=absent)
        return given(self, sum(values) / len(values), scenario, values_ms=values, absent=absent)

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        found = known(scores)
        if not found:
            return [no_total(self, scores)]
        values = [value for score in found for value in score.detail["values_ms"]]
        names = [name for score, name in zip(found, groups(found), strict=True) for _ in score.detail["values_ms"]]
        summary = percentiles(values, names)
        detail = {**spread(values, summary), "blocked_by": blocks(names, len(names)).unit, "warmup": "excluded"}
        return [total(self, summary.p50, summary.n, scores, summary.p50_ci, **detail)]


def spread(values: Sequence[float], summary: Percentiles) -> dict[str, Any]:
    return {
        "p50": summary.p50,
        "p90": summary.p90,
        "p90_ci": summary.p90_ci,
        "p99": summary.p99,
        "mean": sum(values) / summary.n,
        "min": min(values),
        "max": max(values),
        "early": sum(value < 0 for value in values),
    }


def endpoint(trace: Trace) -> list[Span]:
    """`endpoint_ms`: true end of the question -> first decision to speak since it began."""
    return [between(floor_spans.asked_ns(trace), floor_spans.decision_ns(trace), NOT_ASKED, NOT_DECIDED)]


def first_token(trace: Trace) -> list[Span]:
    """`ttft_ms`: that decision -> first token of the reply; negative if the system had it before it decided."""
    return [from_decision(trace, EventKind.TOKEN, "the system reports no tokens")]


def first_audio(trace: Trace) -> list[Span]:
    """`ttfa_ms`: that decision -> first packet of the reply's audio available."""
    return [from_decision(trace, EventKind.AUDIO, "no audio")]


def from_decision(trace: Trace, kind: EventKind, none: str) -> Span:
    no_begin = NOT_DECIDED if trace.question else NOT_ASKED
    no_end = none if trace.answer else "no reply"
    return between(floor_spans.decision_ns(trace), floor_spans.first_of_answer_ns(trace, kind), no_begin, no_end)


def response(trace: Trace) -> list[Span]:
    """`response_ms`: true end of the question -> first audible sample of the reply (leading silence counts)."""
    heard = floor_spans.first_audible_ns(trace)
    return [between(floor_spans.asked_ns(trace), heard, NOT_ASKED, "no audible reply")]


def yield_decision(trace: Trace) -> list[Span]:
    """`yield_decision_ms`: start of each interruption -> decision to yield."""
    return each_interruption(trace, lambda u: between(u.start_ns, floor_spans.yield_ns(trace, u), "", "never yielded"))


def audible_stop(trace: Trace) -> list[Span]:
    """`audible_stop_ms`: start of each interruption -> last audible sample of the reply it interrupts, buffer included."""

    def stop(utterance: Utterance) -> Span:
        sound = floor_spans.audible_at(trace, utterance.start_ns)
        return sound.end_ns - utterance.start_ns if sound else floor_spans.NOTHING_AUDIBLE

    return each_interruption(trace, stop)


def each_interruption(trace: Trace, measure: Callable[[Utterance], Span]) -> list[Span]:
    return [measure(utterance) for utterance in floor_spans.interruptions(trace)] or ["no interruption"]


def between(begin: int | None, end: int | None, no_begin: str, no_end: str) -> Span:
    if begin is None:
        return no_begin
    return no_end if end is None else end - begin
