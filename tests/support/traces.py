"""Hand-made traces with known answers. All times in ms from the scenario's start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from fobench.api.scenario import Expect, Scenario, Turn
from fobench.api.trace import Failure, Reply, Trace, Underrun, Utterance
from fobench.api.types import NS_PER_MS as MS
from fobench.api.types import Event, EventKind

CAPITAL = "Which city is the capital of France?"
SAME: Any = object()  # as the system wrote it


def qa_scenario(
    id: str = "q-1",
    *,
    answers: tuple[str, ...] = ("Paris",),
    choices: tuple[str, ...] = (),
    text: str | None = CAPITAL,
    speaker: str | None = "anna",
    tags: Mapping[str, str] | None = None,
    roles: tuple[str, ...] = ("question",),
) -> Scenario:
    turns = tuple(Turn(f"{id}-{i}.flac", "0" * 64, text, speaker, role) for i, role in enumerate(roles))
    return Scenario(id, "spoken_qa", 0, turns, Expect(answers, choices), tags or {})


def qa_trace(
    id: str = "q-1",
    *,
    said: str | None = "It is Paris.",
    heard: str | None = SAME,
    routes: Mapping[str, str | None] | None = None,
    transcript: str | None = CAPITAL,
    floor: str | None = CAPITAL,
    question: tuple[int, int] = (500, 2000),
    decided: int | None = 2300,
    token: int | None = 2400,
    packet: int | None = 2600,
    audible: tuple[int, int] | None = (2700, 4200),
    stopped: int | None = None,
    gaps: Iterable[int] = (),
    measured: Mapping[str, Mapping[str, float]] | None = None,
    compute: tuple[int, int] = (250, 750),
    failure: str | None = None,
    **scenario: Any,
) -> Trace:
    """One question and its reply: asked until 2000, decided at 2300, audible from 2700 (so `response_ms` is 700)."""
    events = [
        event(EventKind.TRANSCRIPT, 2250, text=transcript) if transcript is not None else None,
        event(EventKind.DECISION, decided, action="speak"),
        event(EventKind.TOKEN, token, text=said, reply=0) if said is not None else None,
        event(EventKind.AUDIO, packet, reply=0) if audible else None,
    ]
    reply = said_reply(0, said, audible, stopped=stopped, gaps=gaps) if said is not None else None
    return Trace(
        scenario=qa_scenario(id, **scenario),
        clock="virtual",
        costs="declared:test",
        duration_ns=5000 * MS,
        events=in_order(events),
        user=(Utterance(0, question[0] * MS, question[1] * MS),),
        replies=(reply,) if reply else (),
        routes={"t2t": "Paris.", "a2t2t": "Paris."} if routes is None else routes,
        judge={"reply": said if heard is SAME else heard, "floor": floor},
        measured=measured or {},
        compute={"input_ns": compute[0] * MS, "output_ns": compute[1] * MS},
        failure=Failure(failure, "as planted") if failure else None,
    )


def duplex_trace(
    user: Iterable[tuple[str, int, int]],
    replies: Iterable[tuple[int, int]] = (),
    *,
    yields: Iterable[int] = (),
    speaks: Iterable[int] = (),
    heard: str | None = None,
    id: str = "d-1",
) -> Trace:
    """User utterances (role, start, end) and audible replies (start, end), with the decisions to yield and to speak."""
    said = tuple(user)
    decisions = [event(EventKind.DECISION, at, action="yield") for at in yields]
    decisions += [event(EventKind.DECISION, at, action="speak") for at in speaks]
    return Trace(
        scenario=qa_scenario(id, roles=tuple(role for role, _, _ in said)),
        clock="virtual",
        costs="declared:test",
        duration_ns=20_000 * MS,
        events=in_order(decisions),
        user=tuple(Utterance(i, start * MS, end * MS) for i, (_, start, end) in enumerate(said)),
        replies=tuple(said_reply(i, "Well.", span) for i, span in enumerate(replies)),
        judge={"reply": heard},
    )


def said_reply(
    number: int, text: str, audible: tuple[int, int] | None, *, stopped: int | None = None, gaps: Iterable[int] = ()
) -> Reply:
    start, end = (audible[0] * MS, audible[1] * MS) if audible else (None, None)
    length = end - start if start is not None and end is not None else 0
    underruns = tuple(Underrun(start or 0, gap * MS) for gap in gaps)
    stopped_ns = stopped * MS if stopped is not None else None
    return Reply(number, text, start, start, end, length, length, stopped_ns, underruns)


def event(kind: EventKind, at: int | None, **data: Any) -> Event | None:
    return Event(kind, data, compute_ns=at * MS) if at is not None else None


def in_order(events: Iterable[Event | None]) -> tuple[Event, ...]:
    return tuple(sorted((e for e in events if e), key=lambda e: e.compute_ns or 0))


def without(trace: Trace, *names: str) -> Trace:
    """The trace as a run without a judge, without text routes, ... leaves it."""
    return replace(trace, **{name: {} for name in names})
