"""Spans and times of a trace that several metrics share, in ns on the playback timeline; None where there is none.

The floor is the right to speak: the user holds it during a turn, and claims it by a question or an interruption.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from fobench.api.scenario import INTERRUPTING_ROLES, NON_CLAIMING_ROLES
from fobench.api.trace import Reply, Trace, Utterance
from fobench.api.types import NS_PER_S, Action, Event, EventKind

TAKEOVER_NS = NS_PER_S  # audible speech of this length is a takeover ...
TAKEOVER_WORDS = 3  # ... and so is a reply of more words than this (Full-Duplex-Bench, arXiv 2503.04721)
YIELD_LIMIT_NS = 2 * NS_PER_S  # a decision to stop later than this after the interruption's start does not count

NOTHING_AUDIBLE = "nothing was audible then"


def role(trace: Trace, utterance: Utterance) -> str:
    return trace.scenario.turns[utterance.turn].role


def interruptions(trace: Trace) -> list[Utterance]:
    """The user's interruptions (barge-ins): a new question over the reply, or "stop"."""
    return [utterance for utterance in trace.user if role(trace, utterance) in INTERRUPTING_ROLES]


def non_claiming(trace: Trace) -> list[Utterance]:
    """The user audio that does not claim the floor: backchannels, side talk, background speech, noise."""
    return [utterance for utterance in trace.user if role(trace, utterance) in NON_CLAIMING_ROLES]


def floor_claims(trace: Trace) -> list[Utterance]:
    """The user's utterances that claim the floor: all but those of `NON_CLAIMING_ROLES`."""
    return [utterance for utterance in trace.user if role(trace, utterance) not in NON_CLAIMING_ROLES]


@dataclass(frozen=True, slots=True)
class FloorSpan:
    """A span in which the user holds the floor.

    `is_interruption`: the user claimed it while the system may have been speaking.
    """

    start_ns: int
    end_ns: int
    is_interruption: bool = False


def user_floor_spans(trace: Trace) -> list[FloorSpan]:
    """The spans in which the user holds the floor: claiming utterances, and the pause between a fragment and its
    continuation.

    A fragment whose next utterance waits for the system (its anchor is not "turn_end") holds the floor only while it
    lasts.
    """
    spans: list[FloorSpan] = []
    continues = False
    for utterance in floor_claims(trace):
        turn = trace.scenario.turns[utterance.turn]
        if continues and turn.anchor.event == "turn_end":
            spans[-1] = replace(spans[-1], end_ns=utterance.end_ns)
        else:
            spans.append(FloorSpan(utterance.start_ns, utterance.end_ns, turn.role in INTERRUPTING_ROLES))
        continues = turn.role == "fragment"
    return spans


def pauses(trace: Trace) -> list[FloorSpan]:
    """The pauses inside the user's turns: from the end of a fragment to the end of its continuation."""
    claims = floor_claims(trace)
    return [
        FloorSpan(fragment.end_ns, rest.end_ns)
        for fragment, rest in pairwise(claims)
        if role(trace, fragment) == "fragment" and trace.scenario.turns[rest.turn].anchor.event == "turn_end"
    ]


@dataclass(frozen=True, slots=True)
class AudibleSpan:
    """The audible part of a reply."""

    reply: Reply
    start_ns: int
    end_ns: int


def audible_spans(trace: Trace) -> list[AudibleSpan]:
    """The audible span of each reply, from its first to its last audible sample."""
    return [
        AudibleSpan(reply, reply.audible_start_ns, reply.audible_end_ns)
        for reply in trace.replies
        if reply.audible_start_ns is not None and reply.audible_end_ns is not None
    ]


def audible_at(trace: Trace, at_ns: int) -> AudibleSpan | None:
    """The audible span that contains a time."""
    return next((sound for sound in audible_spans(trace) if sound.start_ns <= at_ns < sound.end_ns), None)


def next_claim_ns(trace: Trace, after: Utterance) -> int | None:
    """Start of the user's next utterance that claims the floor."""
    return min((u.start_ns for u in floor_claims(trace) if u.start_ns > after.start_ns), default=None)


def first_time_ns(events: Iterable[Event], from_ns: int, before_ns: int | None = None) -> int | None:
    """The smallest compute time of `events` in [from_ns, before_ns)."""
    times = [t for e in events if (t := e.compute_ns) is not None and t >= from_ns]
    return min((t for t in times if before_ns is None or t < before_ns), default=None)


def yield_decision_ns(trace: Trace, utterance: Utterance) -> int | None:
    """Time of the first decision to stop after the start of the utterance and before the user next claims the floor."""
    return first_time_ns(trace.decisions(Action.YIELD), utterance.start_ns, next_claim_ns(trace, utterance))


def question_end_ns(trace: Trace) -> int | None:
    """True end of the question."""
    return trace.question.end_ns if trace.question else None


def turn_start_ns(trace: Trace) -> int | None:
    """Start of the user's turn that ends with the question: that of its first fragment, if it has pauses."""
    question = trace.question
    if question is None:
        return None
    spans = (span for span in user_floor_spans(trace) if span.start_ns <= question.start_ns < span.end_ns)
    return min((span.start_ns for span in spans), default=question.start_ns)


def speak_decision_ns(trace: Trace) -> int | None:
    """Time of the first decision to speak after the start of the question."""
    return first_time_ns(trace.decisions(Action.SPEAK), trace.question.start_ns) if trace.question else None


def first_answer_event_ns(trace: Trace, kind: EventKind) -> int | None:
    """Time of the first event of `kind` (`TOKEN`, `AUDIO`) of the reply to the question.

    It may precede the decision to speak, if the system generates speculatively.
    """
    question, answer = trace.question, trace.answer
    if not question or not answer:
        return None
    claims = [event for event in trace.of(kind) if event.data.get("reply", answer.reply) == answer.reply]
    return first_time_ns(claims, question.start_ns)


def first_audible_ns(trace: Trace) -> int | None:
    """Time of the first audible sample of a reply that began since the start of the user's turn."""
    begin = turn_start_ns(trace)
    if begin is None:
        return None
    after = [s for s in audible_spans(trace) if s.reply.start_ns is None or s.reply.start_ns >= begin]
    return min((sound.start_ns for sound in after), default=None)
