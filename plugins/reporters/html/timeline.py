"""The geometry of one scenario's timeline: who spoke when, what was heard, what was decided. All places are in percent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fobench.api.trace import Reply, Trace
from fobench.api.types import NS_PER_S, Action, EventKind
from fobench_plugins.reporters.views.formatting import line, seconds

TICKS = 6  # at most about so many labels on the axis
STEPS_S = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300)
JOIN = 0.25  # percent of the width: work closer together than this is drawn as one
SYMBOLS = {
    "speak": "decides to speak",
    "yield": "decides to yield",
    "ignore": "decides to stay silent",
    "token": "first token",
    "audio": "first audio",
}
OUTPUT = (EventKind.TOKEN, EventKind.AUDIO, EventKind.REPLY_END)


@dataclass(frozen=True, slots=True)
class TimelineSpan:
    """A block from `x` on, `width` wide, in percent; `title` says what it is."""

    x: float
    width: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class TimelineMark:
    """A moment at `x` percent; `kind` is one of `SYMBOLS`."""

    x: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Bracket:
    """From the user's last word to the first audible sample, or from an interruption's start to the last; `label`: how long."""

    x: float
    width: float
    label: str
    early: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    duration_s: float
    user: list[TimelineSpan]
    heard: list[TimelineSpan]
    lost: list[TimelineSpan]
    gaps: list[TimelineSpan]
    work: list[TimelineSpan]
    marks: list[TimelineMark]
    ticks: list[tuple[float, str]]
    response: Bracket | None
    stops: list[Bracket]
    moments: list[tuple[str, str]] = field(default_factory=list)  # (time, what happened), the same for a screen reader


@dataclass(frozen=True, slots=True)
class TimeScale:
    """Nanoseconds to percent of the scenario's duration."""

    duration_ns: int

    def x(self, ns: int) -> float:
        return round(100 * min(max(ns, 0), self.duration_ns) / self.duration_ns, 3)

    def span(self, start: int, end: int, kind: str, title: str) -> TimelineSpan:
        return TimelineSpan(self.x(start), round(self.x(end) - self.x(start), 3), kind, title)


def timeline(trace: Trace) -> Timeline:
    """The timeline of a trace; lanes are empty where nothing happened."""
    scale = TimeScale(max(1, trace.duration_ns))
    return Timeline(
        duration_s=scale.duration_ns / NS_PER_S,
        user=[_utterance(trace, scale, i) for i in range(len(trace.user))],
        heard=[span for reply in trace.replies for span in _heard(reply, scale)],
        lost=[span for i in range(len(trace.replies)) for span in _lost(trace.replies, i, scale)],
        gaps=[span for reply in trace.replies for span in _gaps(reply, scale)],
        work=_work(trace, scale),
        marks=_marks(trace, scale),
        ticks=_ticks(scale),
        response=_response(trace, scale),
        stops=list(_stops(trace, scale)),
        moments=_moments(trace),
    )


def _utterance(trace: Trace, scale: TimeScale, index: int) -> TimelineSpan:
    said = trace.user[index]
    turn = trace.scenario.turns[said.turn]
    title = f"user, {line(turn.role)}: {line(turn.text or '')} ({seconds(said.start_ns)} to {seconds(said.end_ns)})"
    return scale.span(said.start_ns, said.end_ns, "user", title)


def _end(reply: Reply) -> int:
    """When the last heard sample of a reply that began has been played."""
    return (reply.start_ns or 0) + reply.heard_ns + sum(gap.gap_ns for gap in reply.underruns)


def _heard(reply: Reply, scale: TimeScale) -> Iterator[TimelineSpan]:
    if reply.start_ns is None:
        return
    title = f"system, heard {seconds(reply.heard_ns)} of {seconds(reply.generated_ns)} made"
    yield scale.span(reply.start_ns, _end(reply), "heard", title)


def _lost(replies: tuple[Reply, ...], index: int, scale: TimeScale) -> Iterator[TimelineSpan]:
    """What was made and never heard, drawn where it would have played, up to the next reply."""
    reply = replies[index]
    missing = reply.generated_ns - reply.heard_ns
    if reply.start_ns is None or missing <= 0:
        return
    later = [r.start_ns for r in replies[index + 1 :] if r.start_ns is not None]
    end = min([_end(reply) + missing, *later])
    if end > _end(reply):
        yield scale.span(_end(reply), end, "lost", f"{seconds(missing)} made, never heard")


def _gaps(reply: Reply, scale: TimeScale) -> Iterator[TimelineSpan]:
    for gap in reply.underruns:
        title = f"gap of {seconds(gap.gap_ns)} in playback"
        yield scale.span(gap.at_ns, gap.at_ns + gap.gap_ns, "gap", title)


def _work(trace: Trace, scale: TimeScale) -> list[TimelineSpan]:
    """When the system computed, input path and output path apart; close pieces of a kind are joined."""
    joined: list[TimelineSpan] = []
    for event in trace.events:
        if event.compute_ns is None or not event.cost_ns:
            continue
        kind = "output" if event.kind in OUTPUT else "input"
        span = scale.span(event.compute_ns - event.cost_ns, event.compute_ns, kind, f"computing, {kind}")
        last = joined[-1] if joined else None
        if last and last.kind == kind and span.x - (last.x + last.width) < JOIN:
            joined[-1] = TimelineSpan(last.x, round(max(last.width, span.x + span.width - last.x), 3), kind, last.title)
        else:
            joined.append(span)
    return joined


def _marks(trace: Trace, scale: TimeScale) -> list[TimelineMark]:
    return [TimelineMark(scale.x(ns), kind, f"{SYMBOLS[kind]}, {seconds(ns)}") for ns, kind in _decisive(trace)]


def _decisive(trace: Trace) -> Iterator[tuple[int, str]]:
    """(time, kind) of each decision, and of the first token and the first audio after it."""
    awaited: set[EventKind] = {EventKind.TOKEN, EventKind.AUDIO}
    for event in trace.events:
        if event.compute_ns is None:
            continue
        action = event.data.get("action")
        if event.kind == EventKind.DECISION and action in (Action.SPEAK, Action.YIELD, Action.IGNORE):
            awaited = {EventKind.TOKEN, EventKind.AUDIO}
            yield event.compute_ns, str(action)
        elif event.kind in awaited:
            awaited.remove(event.kind)
            yield event.compute_ns, str(event.kind)


def _ticks(scale: TimeScale) -> list[tuple[float, str]]:
    total = scale.duration_ns / NS_PER_S
    step = next((s for s in STEPS_S if total / s <= TICKS), STEPS_S[-1])
    count = int(total / step)
    last = 97.0  # a label further right would be cut
    places = [(scale.x(round(i * step * NS_PER_S)), f"{i * step:g} s") for i in range(count + 1)]
    return [(x, label) for x, label in places if x <= last]


def _response(trace: Trace, scale: TimeScale) -> Bracket | None:
    question, answer = trace.question, trace.answer
    if question is None or answer is None or answer.audible_start_ns is None:
        return None
    start, end = question.end_ns, answer.audible_start_ns
    span = scale.span(min(start, end), max(start, end), "", "")
    early = end < start
    return Bracket(span.x, span.width, seconds(abs(end - start)) + (" early" if early else ""), early)


def _stops(trace: Trace, scale: TimeScale) -> Iterator[Bracket]:
    """From each interruption over a reply to the end of what is audible of it."""
    for said in trace.user:
        if trace.scenario.turns[said.turn].role not in ("interrupt", "stop"):
            continue
        for reply in trace.replies:
            start, end = reply.audible_start_ns, reply.audible_end_ns
            if start is not None and end is not None and start <= said.start_ns < end:
                span = scale.span(said.start_ns, end, "", "")
                yield Bracket(span.x, span.width, f"silent after {seconds(end - said.start_ns)}", early=False)


def _moments(trace: Trace) -> list[tuple[str, str]]:
    found = [(ns, SYMBOLS[kind]) for ns, kind in _decisive(trace)]
    for said in trace.user:
        role = line(trace.scenario.turns[said.turn].role)
        found += [(said.start_ns, f"user begins ({role})"), (said.end_ns, "user ends")]
    for reply in trace.replies:
        if reply.audible_start_ns is not None:
            found.append((reply.audible_start_ns, "system audible"))
        if reply.audible_end_ns is not None:
            found.append((reply.audible_end_ns, "system silent"))
        found += [(gap.at_ns, f"gap of {seconds(gap.gap_ns)}") for gap in reply.underruns]
    return [(seconds(ns), what) for ns, what in sorted(found, key=lambda item: item[0])]
