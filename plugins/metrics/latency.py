"""Latencies in milliseconds on the playback timeline; the function of each metric names its start and its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from fobench.api.scenario import Scenario
from fobench.api.trace import Trace, Utterance
from fobench.api.types import NS_PER_MS, Action, EventKind, Score
from fobench.statistics.bootstrap import blocks
from fobench.statistics.percentiles import P50_CI_MIN_N, Percentiles, percentiles
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
NO_REPLY = "no audible reply"
NOT_DUE = "no reply is due"
ALL_EARLY = "every reply began before the end of the user's speech"
UNANSWERED = (NOT_DECIDED, NO_REPLY)  # reasons that are failures of the system


class Latency:
    """Median (p50) with its 95 % bootstrap interval; p90 (from n = 10), p99 (from n = 100), mean, minimum and maximum
    in detail.

    The warm-up scenario is excluded, as it leaves no trace. The value of a scenario with several interruptions is their
    mean; the total is over single interruptions.

    `counts_failures` is set for a latency from the true end of the user's speech: the total is then over replies in time
    alone, and detail counts what is not in it, so that neither barging in nor ignoring a question improves it. `early`:
    replies before the user's end, `early_share` of all replies; `unanswered`: questions without a reply, those of
    failed scenarios (`failed_due`) included; `p50_all`: the median if all of these are later than any reply, None if they are half or more. A scenario's
    early value is negative, in detail `early_ms` instead of `values_ms`.
    """

    unit = "ms"
    better: Literal["higher", "lower", "none"] = "lower"

    def __init__(self, name: str, measure: Measure, *, counts_failures: bool = False, version: int = 1) -> None:
        self.name, self._spans, self._counts_failures, self.version = name, measure, counts_failures, version

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            due = {"due": not scenario.expect.is_listening} if self._counts_failures else {}
            return failed_score(self, trace, **due)
        spans = self._spans(trace)
        values = [span / NS_PER_MS for span in spans if isinstance(span, int)]
        reasons = [span for span in spans if isinstance(span, str)]
        if not values:
            unanswered = {"unanswered": reasons[0] in UNANSWERED} if self._counts_failures else {}
            return missing_score(self, reasons[0], scenario, absent=reasons, **unanswered)
        timed = {"values_ms": values}
        if self._counts_failures:
            timed = {"values_ms": [v for v in values if v >= 0], "early_ms": [v for v in values if v < 0]}
        return scenario_score(self, sum(values) / len(values), scenario, **timed, absent=reasons)

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        found = scores_with_value(scores)
        values = [value for score in found for value in score.detail["values_ms"]]
        failures = self._failures(scores, values) if self._counts_failures else {}
        if not values:
            return [missing_total(self, scores, ALL_EARLY if failures.get("early") else "", **failures)]
        names = [name for score, name in zip(found, groups(found), strict=True) for _ in score.detail["values_ms"]]
        summary = percentiles(values, names)
        early = failures or {"early": sum(value < 0 for value in values)}
        detail = {**spread(values, summary, names), **early, "warmup": "excluded"}
        return [total(self, summary.p50, summary.n, scores, summary.p50_ci, **detail)]

    def _failures(self, scores: Sequence[Score], values: Sequence[float]) -> dict[str, Any]:
        """The counts of replies that are early or missing, beside `values` in time."""
        early = sum(len(score.detail["early_ms"]) for score in scores_with_value(scores))
        failed = sum(bool(score.detail.get("failed") and score.detail["due"]) for score in scores)
        unanswered = sum(bool(score.detail.get("unanswered")) for score in scores) + failed
        return early_counts(values, early) | {
            "unanswered": unanswered,
            "failed_due": failed,
            "p50_all": median_of_all(values, early + unanswered),
        }


def early_counts(values: Sequence[float], early: int) -> dict[str, Any]:
    """`early`, and `early_share` of all replies, those in time (`values`) included."""
    return {"early": early, "early_share": early / (len(values) + early) if early else 0.0}


def median_of_all(values: Sequence[float], failures: int) -> float | None:
    """The median of `values` and of `failures` that are later than any of them; None if that is itself a failure."""
    ordered = [*sorted(values), *[math.inf] * failures]
    if not ordered:
        return None
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return middle if math.isfinite(middle) else None


def spread(values: Sequence[float], summary: Percentiles, names: Sequence[str]) -> dict[str, Any]:
    """Percentiles, mean, extremes and blocks of `values` in the groups `names` [n], as detail of a total."""
    parts = blocks(names, len(values))
    clusters = {"n_groups": parts.groups, "cluster_ci": summary.p50_cluster_ci} if parts.groups else {}
    few = f"fewer than {P50_CI_MIN_N} values" if len(values) < P50_CI_MIN_N else "the values around the median agree"
    return {
        "p50": summary.p50,
        "p90": summary.p90,
        "p90_ci": summary.p90_ci,
        "p99": summary.p99,
        "mean": sum(values) / summary.n,
        "min": min(values),
        "max": max(values),
        "blocked_by": parts.unit,
        **clusters,
        **({} if summary.p50_ci else {"no_interval": few}),
    }


def end_of_turn_delay(trace: Trace) -> list[Span]:
    """`endpoint_ms` (EOT): true end of the question -> first decision to speak since the start of the user's turn."""
    if trace.scenario.expect.is_listening:
        return [NOT_DUE]
    begin = floor_spans.turn_start_ns(trace)
    decided = None if begin is None else floor_spans.first_time_ns(trace.decisions(Action.SPEAK), begin)
    return [between(floor_spans.question_end_ns(trace), decided, NOT_ASKED, NOT_DECIDED)]


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
    if trace.scenario.expect.is_listening:
        return [NOT_DUE]
    audible_ns = floor_spans.first_audible_ns(trace)
    return [between(floor_spans.question_end_ns(trace), audible_ns, NOT_ASKED, NO_REPLY)]


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
