"""What single turns of a scenario require, as limits on the metrics of the part of the trace that is about that turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fobench.api.scenario import INTERRUPTING_ROLES, NON_CLAIMING_ROLES, TurnExpect
from fobench.api.trace import Trace, Utterance

EXPECTED = {  # expectation: (the limit that it is, what is said of one that is not kept)
    "stop": ("yield_rate>=1", "the system did not stop its reply in time"),
    "keep": ("resume_rate>=1", "the system did not keep its reply"),
    "reply": ("no_reply_rate<=0", "the system did not reply"),
}
NOT_REACHED = "the conversation did not reach this turn"


def turn_limits(expected: TurnExpect) -> Iterator[tuple[str, str, str, str]]:
    """(text as written, kind of expectation, limit on a metric, words or "") of all that a turn requires."""
    if expected.expect:
        limit, words = EXPECTED[expected.expect]
        yield f"expect = {expected.expect}", expected.expect, limit, words
    if expected.max_stop_ms is not None:
        yield f"max_stop_ms = {expected.max_stop_ms:g}", "stop", f"audible_stop_ms<={expected.max_stop_ms:.6f}", ""
    if expected.max_response_ms is not None:
        yield (
            f"max_response_ms = {expected.max_response_ms:g}",
            "reply",
            f"response_ms<={expected.max_response_ms:.6f}",
            "",
        )


def about_turn(trace: Trace, turn: int, kind: str) -> Trace | None:
    """The trace in which the metrics of an expectation see this turn alone; None if it was not reached.

    Other interruptions become questions, which still claim the floor; for "keep" other sounds are left out; for "reply" an
    earlier question is the last one, and replies count until the user next claims the floor.
    """
    said = next((utterance for utterance in trace.user if utterance.turn == turn), None)
    turns = trace.scenario.turns
    if said is None:
        return None
    if kind == "stop":
        others = tuple(
            replace(each, role="question") if each.role in INTERRUPTING_ROLES and index != turn else each
            for index, each in enumerate(turns)
        )
        user = tuple(each for each in trace.user if each.start_ns >= said.start_ns)
        return replace(trace, scenario=replace(trace.scenario, turns=others), user=user)
    if kind == "keep":
        user = tuple(each for each in trace.user if each is said or turns[each.turn].role not in NON_CLAIMING_ROLES)
        return replace(trace, user=user)
    return trace if turns[turn] is trace.scenario.question else _until_next_claim(trace, said)


def _until_next_claim(trace: Trace, said: Utterance) -> Trace:
    """The conversation up to a turn, with the replies that began before the user next claimed the floor."""
    turns = trace.scenario.turns
    later = (each for each in trace.user if each.turn > said.turn and turns[each.turn].role not in NON_CLAIMING_ROLES)
    end_ns = min((each.start_ns for each in later), default=None)
    replies = trace.replies
    if end_ns is not None:
        replies = tuple(reply for reply in replies if (reply.audible_start_ns or reply.start_ns or 0) < end_ns)
    user = tuple(each for each in trace.user if each.turn <= said.turn)
    scenario = replace(trace.scenario, turns=turns[: said.turn + 1])
    return replace(trace, scenario=scenario, user=user, replies=replies)
