"""Traces: the event log of one scenario, one JSON line each. Metrics are pure functions of traces.

Times are integer nanoseconds from the scenario's start, on the playback timeline of user and listener.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from fobench import outside_files
from fobench.api import typed
from fobench.api.scenario import ASKING_ROLES, Scenario
from fobench.api.thoughts import without_thoughts
from fobench.api.types import NS_PER_S, Action, Event, EventKind
from fobench.errors import FobenchError

VERSION = 1
LONGEST_NS = 30 * 86_400 * NS_PER_S  # of a conversation, and of anything in it
EVENT_DATA: Mapping[EventKind, tuple[str, type, Any]] = {  # what an event of a kind carries: key, type, default
    EventKind.TRANSCRIPT: ("text", str, None),
    EventKind.AUDIO: ("duration_ns", int, 0),
}


@dataclass(frozen=True, slots=True)
class Utterance:
    """A user turn as it was played; `start_ns` and `end_ns` bound the speech, not the file."""

    turn: int  # index in scenario.turns
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Underrun:
    """A playback underrun inside a reply: a gap of `gap_ns` at `at_ns`."""

    at_ns: int
    gap_ns: int


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply as it was played. Audible: over -45 dBFS for at least 30 ms; None if it never was.

    `text`: text written by the system, with its thoughts; `generated_ns` and `heard_ns`: duration of its generated and of its played audio.
    """

    reply: int
    text: str
    start_ns: int | None  # first sample played, leading silence included
    audible_start_ns: int | None
    audible_end_ns: int | None
    generated_ns: int
    heard_ns: int
    stopped_ns: int | None = None  # when the system decided to yield, if it did
    underruns: tuple[Underrun, ...] = ()

    @property
    def said(self) -> str:
        """The text without the thoughts of a reasoning model: what is scored, and what is to be spoken."""
        return without_thoughts(self.text)


@dataclass(frozen=True, slots=True)
class Failure:
    """The failure of a scenario: its kind (`raised`, `hung`, `died`, `bad_audio`, ...) and message."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Trace:
    """The trace of one scenario. `scenario` is embedded, so that a single line can be scored.

    `routes`: reply text per text route: t2t (reference text), a2t2t (the system's own transcript). `judge`: transcripts of the
    reference ASR: `reply` (the spoken reply) and `floor` (the clean prompt audio), None without audio. `measured`: values of
    audio metrics on the reply, by metric name. `compute`: compute time of the system in ns by path.
    """

    scenario: Scenario
    clock: Literal["virtual", "wall"]
    costs: str  # "measured", or "declared:<hash of the table>"
    duration_ns: int
    events: tuple[Event, ...] = ()
    user: tuple[Utterance, ...] = ()
    replies: tuple[Reply, ...] = ()
    routes: Mapping[str, str | None] = field(default_factory=dict)
    judge: Mapping[str, str | None] = field(default_factory=dict)
    measured: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    compute: Mapping[str, int] = field(default_factory=dict)
    audio: str | None = None  # stereo FLAC inside the run folder: left user, right system as heard
    failure: Failure | None = None
    version: int = VERSION

    @property
    def id(self) -> str:
        return self.scenario.id

    @property
    def question(self) -> Utterance | None:
        """The utterance of the scenario's question; None if it was not reached."""
        turns, wanted = self.scenario.turns, self.scenario.question
        return next((u for u in reversed(self.user) if turns[u.turn] is wanted), None)

    @property
    def asked(self) -> Utterance | None:
        """The last utterance with an asking role: the question, or an earlier one if it was not reached."""
        turns = self.scenario.turns
        return next((u for u in reversed(self.user) if turns[u.turn].role in ASKING_ROLES), None)

    @property
    def answer(self) -> Reply | None:
        """The reply to the question: the first one with audio that began after the question's start, else with text only.

        A reply that was stopped before the question's end counts only if there is no other.
        """
        question = self.question
        after = [r for r in self.replies if question and (r.start_ns is None or r.start_ns >= question.start_ns)]
        if question:
            lasting = [r for r in after if r.stopped_ns is None or r.stopped_ns > question.end_ns]
            after = lasting or after
        return next((r for r in after if r.start_ns is not None), after[0] if after else None)

    def of(self, kind: EventKind) -> tuple[Event, ...]:
        return tuple(event for event in self.events if event.kind == kind)

    def decisions(self, action: Action) -> tuple[Event, ...]:
        return tuple(event for event in self.of(EventKind.DECISION) if event.data.get("action") == action)

    def transcript(self) -> str | None:
        """The system's own transcript of all user audio; None if it reports none."""
        texts = [str(event.data["text"]) for event in self.of(EventKind.TRANSCRIPT)]
        return " ".join(texts) if texts else None

    def transcripts(self) -> tuple[str, ...]:
        """The transcript of each asking turn: the text reported since its start, empty without any."""
        asking = [i for i, turn in enumerate(self.scenario.turns) if turn.role in ASKING_ROLES]
        begun = {u.turn: u.start_ns for u in self.user}
        heard: list[list[str]] = [[] for _ in asking]
        for event in self.of(EventKind.TRANSCRIPT) if asking else ():
            since = [k for k, turn in enumerate(asking) if turn in begun and begun[turn] <= (event.compute_ns or 0)]
            heard[max(since, default=0)].append(str(event.data["text"]))
        return tuple(map(" ".join, heard))

    def to_json(self) -> dict[str, Any]:
        """Plain data for one JSON line (audio samples are never in it)."""
        plain = {name: getattr(self, name) for name in ("clock", "costs", "duration_ns", "audio")}
        mappings = {name: dict(getattr(self, name)) for name in ("routes", "judge", "measured", "compute")}
        records = {name: [asdict(item) for item in getattr(self, name)] for name in ("user", "replies")}
        return {
            "version": self.version,
            "scenario": self.scenario.to_json(),
            **plain,
            "events": [_event(event) for event in self.events],  # not by asdict, which copies hundreds of events deeply
            **records,
            **mappings,
            "failure": asdict(self.failure) if self.failure else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trace:
        """The trace that `to_json` wrote. Raises `FobenchError` for another version or a broken record."""
        if not isinstance(data, Mapping):
            raise FobenchError(f"Broken trace: {type(data).__name__} instead of an object")
        if data.get("version") != VERSION:
            raise FobenchError(
                f"Trace version {data.get('version')!r} is not {VERSION}: run it again, or use the fobench that wrote it."
            )
        try:
            trace = outside_files.record(cls, data)
        except ValueError as error:
            raise FobenchError(f"Broken trace: {error}") from error
        if problem := _problem(trace):
            raise FobenchError(f"Broken trace: {problem}")
        return trace


def _event(event: Event) -> dict[str, Any]:
    return {
        "kind": event.kind,
        "data": dict(event.data),
        "media_ns": event.media_ns,
        "compute_ns": event.compute_ns,
        "playback_ns": event.playback_ns,
        "cost_ns": event.cost_ns,
    }


def _problem(trace: Trace) -> str:
    """What no replay can have recorded: an absurd time, a turn that the scenario lacks, an event without its data."""
    replies, events = trace.replies, trace.events
    lengths = {
        "duration_ns": [trace.duration_ns],
        "replies": [ns for reply in replies for ns in (reply.generated_ns, reply.heard_ns)],
        "underruns": [gap.gap_ns for reply in replies for gap in reply.underruns],
        "compute": list(trace.compute.values()),
        "events": [event.cost_ns for event in events],
    }
    times: dict[str, list[int | None]] = {
        "user": [ns for said in trace.user for ns in (said.start_ns, said.end_ns)],
        "replies": [ns for r in replies for ns in (r.start_ns, r.audible_start_ns, r.audible_end_ns, r.stopped_ns)],
        "events": [ns for event in events for ns in (event.media_ns, event.compute_ns, event.playback_ns)],
    }
    for name, values in lengths.items():
        if odd := next((ns for ns in values if not 0 <= ns <= LONGEST_NS), None):
            return f"{name}: {odd} ns is no duration"
    for name, moments in times.items():
        if odd := next((ns for ns in moments if ns is not None and abs(ns) > LONGEST_NS), None):
            return f"{name}: {odd} ns is no time in a conversation"
    if odd_turns := [said.turn for said in trace.user if not 0 <= said.turn < len(trace.scenario.turns)]:
        return f"user: the scenario has no turn {odd_turns[0]}"
    for event in events:
        key, kind, default = EVENT_DATA.get(event.kind, ("", object, None))
        if not isinstance(value := event.data.get(key, default), kind):
            return f"events: {event.kind.value} has {key} {typed.shown(value)}"
    missing_idle = trace.compute.get("idle_steps") and "idle_ns" not in trace.compute
    return "compute: idle_steps without idle_ns" if missing_idle else ""
