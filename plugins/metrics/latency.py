"""Latencies in milliseconds on the playback timeline; the function of each metric names its start and its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from fobench.api.scenario import Scenario
from fobench.api.trace import Trace, Utterance
from fobench.api.types import NS_PER_MS, EventKind, Score
from fobench.statistics.bootstrap import blocks
from fobench.statistics.percentiles import Percentiles, percentiles
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

Span = int | str  # ns, or the reason why it is missing
Measure = Callable[[Trace], list[Span]]

NOT_ASKED = "the question was not asked"
NOT_DECIDED = "the system never decided to speak"


class Latency:
    """Median (p50) with its 95 % bootstrap interval; p90 (from n = 10), p99 (from n = 100), mean, minimum and maximum
    in detail.

    Negative values are kept, and counted as `early`. The warm-up scenario is excluded, as it leaves no trace. The value
    of a scenario with several interruptions is their mean; the total is over single interruptions.
    """

    version = 1
    unit = "ms"
    better: Literal["higher", "lower", "none"] = "lower"

    def __init__(self, name: str, measure: Measure) -> None:
        self.name, self._spans = name, measure

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed_score(self, trace)
        spans = self._spans(trace)
        values = [span / NS_PER_MS for span in spans if isinstance(span, int)]
        reasons = [span for span in spans if isinstance(span, str)]
        if not values:
            return missing_score(self, reasons[0], scenario, absent=reasons)
        return scenario_score(self, sum(values) / len(values), scenario, values_ms=values, absent=reasons)

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        found = scores_with_value(scores)
        if not found:
            return [missing_total(self, scores)]
        values = [value for score in found for value in score.detail["values_ms"]]
        names = [name for score, name in zip(found, groups(found), strict=True) for _ in score.detail["values_ms"]]
        summary = percentiles(values, names)
        detail = {**spread(values, summary), "blocked_by": blocks(names, len(names)).unit, "warmup": "excluded"}
        return [total(self, summary.p50, summary.n, scores, summary.p50_ci, **detail)]


def spread(values: Sequence[float], summary: Percentiles) -> dict[str, Any]:
    """Percentiles, mean, extremes, and the count of negative values (`early`), as detail of a total."""
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


def end_of_turn_delay(trace: Trace) -> list[Span]:
    """`endpoint_ms` (EOT): true end of the question -> first decision to speak after the start of the question."""
    return [between(floor_spans.question_end_ns(trace), floor_spans.speak_decision_ns(trace), NOT_ASKED, NOT_DECIDED)]


def time_to_first_token(trace: Trace) -> list[Span]:
    """`ttft_ms` (TTFT): decision to speak -> first token of the reply; negative if the system generated it before
    the decision.
    """
    return [since_speak_decision(trace, EventKind.TOKEN, "the system reports no tokens")]


def time_to_first_audio(trace: Trace) -> list[Span]:
    """`ttfa_ms` (TTFA): decision to speak -> first audio packet of the reply."""
    return [since_speak_decision(trace, EventKind.AUDIO, "no audio")]


def since_speak_decision(trace: Trace, kind: EventKind, none: str) -> Span:
    no_begin = NOT_DECIDED if trace.question else NOT_ASKED
    no_end = none if trace.answer else "no reply"
    return between(
        floor_spans.speak_decision_ns(trace), floor_spans.first_answer_event_ns(trace, kind), no_begin, no_end
    )


def response_latency(trace: Trace) -> list[Span]:
    """`response_ms` (voice to voice): true end of the question -> first audible sample of the reply; its leading
    silence counts.
    """
    audible_ns = floor_spans.first_audible_ns(trace)
    return [between(floor_spans.question_end_ns(trace), audible_ns, NOT_ASKED, "no audible reply")]


def barge_in_decision_latency(trace: Trace) -> list[Span]:
    """`yield_decision_ms`: start of each interruption -> decision to stop."""
    return each_interruption(
        trace, lambda u: between(u.start_ns, floor_spans.yield_decision_ns(trace, u), "", "never yielded")
    )


def barge_in_stop_latency(trace: Trace) -> list[Span]:
    """`audible_stop_ms`: start of each interruption -> last audible sample of the interrupted reply, the playback
    buffer included.
    """

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
