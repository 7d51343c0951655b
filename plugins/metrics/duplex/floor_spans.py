"""Moments in a trace that several metrics ask for, in ns of the playback timeline; None where there was none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from fobench.api.trace import Reply, Trace, Utterance
from fobench.api.types import NS_PER_S, Action, Event, EventKind

INTERRUPTING = ("interrupt", "stop")  # roles of turns that claim the floor from the system
BYSTANDING = ("backchannel", "side_talk", "background", "noise")  # roles of sounds that claim no floor

TAKEOVER_NS = NS_PER_S  # audible speech of this length takes the floor ...
TAKEOVER_WORDS = 3  # ... and so do more words than this
YIELD_NS = 2 * NS_PER_S  # a yield later than this after the interruption's start is none

NOTHING_AUDIBLE = "nothing was audible then"


def role(trace: Trace, utterance: Utterance) -> str:
    return trace.scenario.turns[utterance.turn].role


def interruptions(trace: Trace) -> list[Utterance]:
    """The user's utterances that are to stop the system: a new question over its reply, or "stop"."""
    return [utterance for utterance in trace.user if role(trace, utterance) in INTERRUPTING]


def bystanders(trace: Trace) -> list[Utterance]:
    """The user audio that asks nothing of the system: backchannels, side talk, background speech, noise."""
    return [utterance for utterance in trace.user if role(trace, utterance) in BYSTANDING]


def claims(trace: Trace) -> list[Utterance]:
    """The user's utterances that hold the floor while they last: all but the bystanding ones."""
    return [utterance for utterance in trace.user if role(trace, utterance) not in BYSTANDING]


@dataclass(frozen=True, slots=True)
class FloorSpan:
    """A span in which the floor is the user's; `over`: taken from the system by an interruption."""

    start_ns: int
    end_ns: int
    over: bool = False


def holds(trace: Trace) -> list[FloorSpan]:
    """Where the user holds the floor: in claiming utterances, and between a fragment and what goes on with it by the clock.

    A fragment that the user left standing (what follows waits for the system) holds it no longer than it lasts.
    """
    found: list[FloorSpan] = []
    goes_on = False
    for utterance in claims(trace):
        turn = trace.scenario.turns[utterance.turn]
        if goes_on and turn.anchor.event == "turn_end":
            found[-1] = replace(found[-1], end_ns=utterance.end_ns)
        else:
            found.append(FloorSpan(utterance.start_ns, utterance.end_ns, turn.role in INTERRUPTING))
        goes_on = turn.role == "fragment"
    return found


def pauses(trace: Trace) -> list[FloorSpan]:
    """The pauses inside the user's turns: from a fragment to the end of what goes on with it by the clock."""
    own = claims(trace)
    return [
        FloorSpan(fragment.end_ns, rest.end_ns)
        for fragment, rest in pairwise(own)
        if role(trace, fragment) == "fragment" and trace.scenario.turns[rest.turn].anchor.event == "turn_end"
    ]


@dataclass(frozen=True, slots=True)
class AudibleSpan:
    """The audible part of a reply."""

    reply: Reply
    start_ns: int
    end_ns: int


def sounds(trace: Trace) -> list[AudibleSpan]:
    """The audible parts of the replies; a pause inside a reply counts as audible."""
    return [
        AudibleSpan(reply, reply.audible_start_ns, reply.audible_end_ns)
        for reply in trace.replies
        if reply.audible_start_ns is not None and reply.audible_end_ns is not None
    ]


def audible_at(trace: Trace, at_ns: int) -> AudibleSpan | None:
    return next((sound for sound in sounds(trace) if sound.start_ns <= at_ns < sound.end_ns), None)


def next_claim_ns(trace: Trace, after: Utterance) -> int | None:
    """When the user's next utterance that claims the floor begins."""
    return min((u.start_ns for u in claims(trace) if u.start_ns > after.start_ns), default=None)


def first(events: Iterable[Event], from_ns: int, before_ns: int | None = None) -> int | None:
    """The compute time of the first of `events` in [from_ns, before_ns)."""
    times = [t for e in events if (t := e.compute_ns) is not None and t >= from_ns]
    return min((t for t in times if before_ns is None or t < before_ns), default=None)


def yield_ns(trace: Trace, utterance: Utterance) -> int | None:
    """The first decision to yield after the utterance began and before the user's next claim."""
    return first(trace.decisions(Action.YIELD), utterance.start_ns, next_claim_ns(trace, utterance))


def asked_ns(trace: Trace) -> int | None:
    """The true end of the question."""
    return trace.question.end_ns if trace.question else None


def decision_ns(trace: Trace) -> int | None:
    """The first decision to speak after the question began."""
    return first(trace.decisions(Action.SPEAK), trace.question.start_ns) if trace.question else None


def first_of_answer_ns(trace: Trace, kind: EventKind) -> int | None:
    """The first event of `kind` (`TOKEN`, `AUDIO`) that belongs to the reply to the question.

    Before the decision to speak, if the system speculates.
    """
    question, answer = trace.question, trace.answer
    if not question or not answer:
        return None
    own = [event for event in trace.of(kind) if event.data.get("reply", answer.reply) == answer.reply]
    return first(own, question.start_ns)


def first_audible_ns(trace: Trace) -> int | None:
    """The first audible sample of a reply that began after the question began."""
    question = trace.question
    if not question:
        return None
    after = [s for s in sounds(trace) if s.reply.start_ns is None or s.reply.start_ns >= question.start_ns]
    return min((sound.start_ns for sound in after), default=None)
