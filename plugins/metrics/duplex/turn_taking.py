"""Turn-taking rates: `takeover_rate`, `pause_takeover_rate`, `turn_success`, `interrupts_user_rate`,
`early_reply_rate`, `no_reply_rate`, `response_after_interrupt`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import Score
from fobench.scoring.text_normalization import normalize
from fobench_plugins.metrics.aggregation import (
    failed_score,
    missing_score,
    rate_total,
    scenario_score,
    scores_with_value,
)
from fobench_plugins.metrics.correctness import judge_reply
from fobench_plugins.metrics.duplex import floor_spans
from fobench_plugins.metrics.duplex.barge_in import keeps_reply
from fobench_plugins.metrics.duplex.floor_spans import TAKEOVER_NS, TAKEOVER_WORDS, YIELD_LIMIT_NS, AudibleSpan
from fobench_plugins.metrics.latency import NO_REPLY, response_latency

Outcome = bool | str  # or the reason why it is missing


class ScenarioRate:
    """Share of scenarios in which a condition holds, with Wilson's 95 % interval."""

    unit = "share"

    def __init__(
        self,
        name: str,
        better: Literal["higher", "lower", "none"],
        outcome_of: Callable[[Trace], Outcome],
        version: int = 1,
    ) -> None:
        self.name, self.better, self.outcome_of, self.version = name, better, outcome_of, version

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed_score(self, trace)
        outcome = self.outcome_of(trace)
        return (
            missing_score(self, outcome, scenario)
            if isinstance(outcome, str)
            else scenario_score(self, outcome, scenario)
        )

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        found = scores_with_value(scores)
        return [rate_total(self, sum(score.value == 1.0 for score in found), len(found), scores)]


def takes_over(trace: Trace) -> Outcome:
    """`takeover_rate`: whether a reply is audible for at least 1 s, or has more than 3 words in the reference ASR's
    transcript.
    """
    audible = floor_spans.audible_spans(trace)
    if any(_is_takeover_length(sound) for sound in audible):
        return True
    return bool(audible) and len(normalize(trace.judge.get("reply") or "", transcript=True).split()) > TAKEOVER_WORDS


def takes_over_in_pause(trace: Trace) -> Outcome:
    """`pause_takeover_rate`: whether a reply takes the floor in a pause of the user's turn or in the rest of the turn.

    Speech before the pause does not count. Words are counted in the reply's own text, in proportion to the part that
    was played, since the reference ASR transcribes only the reply to the question.
    """
    pauses = floor_spans.pauses(trace)
    if not pauses:
        return "no pause inside a turn"
    return any(_takes_over_within(sound, pause) for sound in floor_spans.audible_spans(trace) for pause in pauses)


def _takes_over_within(sound: AudibleSpan, pause: floor_spans.FloorSpan) -> bool:
    if sound.start_ns >= pause.end_ns or sound.end_ns <= pause.start_ns:
        return False
    if sound.start_ns < pause.start_ns:
        return sound.end_ns - pause.start_ns >= TAKEOVER_NS
    return _is_takeover_length(sound) or _audible_words(sound) > TAKEOVER_WORDS


def _is_takeover_length(sound: AudibleSpan) -> bool:
    return sound.end_ns - sound.start_ns >= TAKEOVER_NS


def _audible_words(sound: AudibleSpan) -> float:
    reply = sound.reply
    return len(normalize(reply.said).split()) * reply.heard_ns / max(1, reply.generated_ns)


def turn_succeeds(trace: Trace) -> Outcome:
    """`turn_success`: whether the system is silent in the user's turn and speaks in its own.

    Silent: it never becomes audible while the user holds the floor, an interrupted reply ends within 2.0 s, and after
    "stop", or without a question, it does not take the floor. Speaks: it is audible after the question (after an
    earlier one, if the question was never reached), and it continues or resumes its reply through sounds that do not
    claim the floor. Where the system has to listen to the end, a success is to take the floor at no time while the user
    holds it; short acknowledgments are no fault.
    """
    if trace.scenario.expect.is_listening:
        return not _takes_over_user(trace)
    asked = trace.asked
    if trace.scenario.question and not asked:
        return "no question was asked"
    overlaps = any(_overlaps(trace, span) for span in floor_spans.user_floor_spans(trace) if not span.is_interruption)
    silent = not overlaps and interrupts_user(trace) is not True and not _speaks_past_interruption(trace)
    if not asked:
        return silent and not takes_over(trace)
    stop_requests = [u for u in trace.user if floor_spans.role(trace, u) == "stop" and u.start_ns > asked.start_ns]
    if stop_requests:
        start_ns, limit_ns = stop_requests[-1].start_ns, stop_requests[-1].start_ns + YIELD_LIMIT_NS
        return silent and not any(
            _is_takeover_length(s)
            for s in floor_spans.audible_spans(trace)
            if s.start_ns >= start_ns and s.end_ns > limit_ns
        )
    speaks = any(sound.start_ns >= asked.end_ns for sound in floor_spans.audible_spans(trace))
    return silent and speaks and all(keeps_reply(trace, u) is not False for u in floor_spans.non_claiming(trace))


def _overlaps(trace: Trace, span: floor_spans.FloorSpan) -> bool:
    return any(s.start_ns < span.end_ns and s.end_ns > span.start_ns for s in floor_spans.audible_spans(trace))


def _speaks_past_interruption(trace: Trace) -> bool:
    """Whether a reply continued for more than 2.0 s into an interruption."""
    interrupted = [(u, floor_spans.audible_at(trace, u.start_ns)) for u in floor_spans.interruptions(trace)]
    return any(sound.end_ns > u.start_ns + YIELD_LIMIT_NS for u, sound in interrupted if sound)


def interrupts_user(trace: Trace) -> Outcome:
    """`interrupts_user_rate`: whether the system becomes audible while the user holds the floor, pauses inside a
    turn included; where it has to listen, whether it takes the floor (an acknowledgment does not).
    """
    user_spans = floor_spans.user_floor_spans(trace)
    if not user_spans:
        return "the user never holds the floor"
    if trace.scenario.expect.is_listening:
        return _takes_over_user(trace)
    return any(
        span.start_ns <= sound.start_ns < span.end_ns
        for span in user_spans
        for sound in floor_spans.audible_spans(trace)
    )


def _takes_over_user(trace: Trace) -> bool:
    """Whether a reply takes the floor while the user holds it."""
    spans = floor_spans.user_floor_spans(trace)
    return any(_takes_over_within(sound, span) for sound in floor_spans.audible_spans(trace) for span in spans)


def replies_early(trace: Trace) -> Outcome:
    """`early_reply_rate`: whether the reply is audible before the end of the user's turn."""
    (span,) = response_latency(trace)
    return span if isinstance(span, str) else span < 0


def leaves_unanswered(trace: Trace) -> Outcome:
    """`no_reply_rate`: whether a question gets no audible reply."""
    (span,) = response_latency(trace)
    return span == NO_REPLY if isinstance(span, int) or span == NO_REPLY else span


def answers_interruption(trace: Trace) -> Outcome:
    """`response_after_interrupt`: whether the new question is answered correctly in speech (in text, without a
    reference ASR).
    """
    asked = trace.scenario.question
    if asked is None or asked.role != "interrupt":
        return "no interruption by a question"
    spoken = judge_reply(trace, "s2s")
    found = judge_reply(trace, "s2t") if spoken.unavailable else spoken
    return found.reason if found.right is None else found.right
