"""The geometry of one scenario's timeline: user speech, playback, decisions and compute. All positions are in percent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fobench.api.trace import Reply, Trace
from fobench.api.types import NS_PER_S, Action, EventKind
from fobench.formatting import one_line, seconds

TICKS = 6  # about the maximum number of labels on the axis
STEPS_S = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300)
JOIN = 0.25  # percent of the width: compute spans closer than this are drawn as one
SYMBOLS = {
    "speak": "decides to speak",
    "yield": "decides to stop (barge-in)",
    "ignore": "decides to stay silent",
    "token": "first token (TTFT)",
    "audio": "first audio (TTFA)",
}
OUTPUT = (EventKind.TOKEN, EventKind.AUDIO, EventKind.REPLY_END)


@dataclass(frozen=True, slots=True)
class TimelineSpan:
    """A block at `x`, `width` wide, in percent; `title` is its tooltip."""

    x: float
    width: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class TimelineMark:
    """An event at `x` percent; `kind` is one of `SYMBOLS`."""

    x: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Bracket:
    """The span of a response latency or a barge-in stop latency; `label` is its duration."""

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
    underruns: list[TimelineSpan]
    work: list[TimelineSpan]
    marks: list[TimelineMark]
    ticks: list[tuple[float, str]]
    response: Bracket | None
    stops: list[Bracket]
    events: list[tuple[str, str]] = field(default_factory=list)  # (time, event), for screen readers


@dataclass(frozen=True, slots=True)
class TimeScale:
    """Nanoseconds to percent of the scenario's duration."""

    duration_ns: int

    def x(self, ns: int) -> float:
        return round(100 * min(max(ns, 0), self.duration_ns) / self.duration_ns, 3)

    def span(self, start: int, end: int, kind: str, title: str) -> TimelineSpan:
        return TimelineSpan(self.x(start), round(self.x(end) - self.x(start), 3), kind, title)


def timeline(trace: Trace) -> Timeline:
    """The timeline of a trace; a lane without events is empty."""
    scale = TimeScale(max(1, trace.duration_ns))
    return Timeline(
        duration_s=scale.duration_ns / NS_PER_S,
        user=[_utterance(trace, scale, i) for i in range(len(trace.user))],
        heard=[span for reply in trace.replies for span in _heard(reply, scale)],
        lost=[span for i in range(len(trace.replies)) for span in _lost(trace.replies, i, scale)],
        underruns=[span for reply in trace.replies for span in _underruns(reply, scale)],
        work=_work(trace, scale),
        marks=_marks(trace, scale),
        ticks=_ticks(scale),
        response=_response(trace, scale),
        stops=list(_stops(trace, scale)),
        events=_events(trace),
    )


def _utterance(trace: Trace, scale: TimeScale, index: int) -> TimelineSpan:
    utterance = trace.user[index]
    turn = trace.scenario.turns[utterance.turn]
    title = f"user, {one_line(turn.role)}: {one_line(turn.text or '')} ({seconds(utterance.start_ns)} to {seconds(utterance.end_ns)})"
    return scale.span(utterance.start_ns, utterance.end_ns, "user", title)


def _end(reply: Reply) -> int:
    """The end of the last sample of a reply that the listener hears."""
    return (reply.start_ns or 0) + reply.heard_ns + sum(underrun.gap_ns for underrun in reply.underruns)


def _heard(reply: Reply, scale: TimeScale) -> Iterator[TimelineSpan]:
    if reply.start_ns is None:
        return
    title = f"system, {seconds(reply.heard_ns)} heard of {seconds(reply.generated_ns)} generated"
    yield scale.span(reply.start_ns, _end(reply), "heard", title)


def _lost(replies: tuple[Reply, ...], index: int, scale: TimeScale) -> Iterator[TimelineSpan]:
    """Audio that was generated and never heard, drawn where it would have played, up to the next reply."""
    reply = replies[index]
    missing = reply.generated_ns - reply.heard_ns
    if reply.start_ns is None or missing <= 0:
        return
    later = [r.start_ns for r in replies[index + 1 :] if r.start_ns is not None]
    end = min([_end(reply) + missing, *later])
    if end > _end(reply):
        yield scale.span(_end(reply), end, "lost", f"{seconds(missing)} generated, never heard")


def _underruns(reply: Reply, scale: TimeScale) -> Iterator[TimelineSpan]:
    for underrun in reply.underruns:
        title = f"playback underrun of {seconds(underrun.gap_ns)}"
        yield scale.span(underrun.at_ns, underrun.at_ns + underrun.gap_ns, "gap", title)


def _work(trace: Trace, scale: TimeScale) -> list[TimelineSpan]:
    """Compute spans of the input path and of the output path; close spans of a kind are joined."""
    joined: list[TimelineSpan] = []
    for event in trace.events:
        if event.compute_ns is None or not event.cost_ns:
            continue
        kind = "output" if event.kind in OUTPUT else "input"
        span = scale.span(event.compute_ns - event.cost_ns, event.compute_ns, kind, f"compute, {kind} path")
        last = joined[-1] if joined else None
        if last and last.kind == kind and span.x - (last.x + last.width) < JOIN:
            joined[-1] = TimelineSpan(last.x, round(max(last.width, span.x + span.width - last.x), 3), kind, last.title)
        else:
            joined.append(span)
    return joined


def _marks(trace: Trace, scale: TimeScale) -> list[TimelineMark]:
    return [TimelineMark(scale.x(ns), kind, f"{SYMBOLS[kind]}, {seconds(ns)}") for ns, kind in _decisions(trace)]


def _decisions(trace: Trace) -> Iterator[tuple[int, str]]:
    """(time, kind) of each decision and of the first token and first audio after it."""
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
    """From the start of each interruption of a reply to the end of its audible part."""
    for utterance in trace.user:
        if trace.scenario.turns[utterance.turn].role not in ("interrupt", "stop"):
            continue
        for reply in trace.replies:
            start, end = reply.audible_start_ns, reply.audible_end_ns
            if start is not None and end is not None and start <= utterance.start_ns < end:
                span = scale.span(utterance.start_ns, end, "", "")
                yield Bracket(span.x, span.width, f"stops after {seconds(end - utterance.start_ns)}", early=False)


def _events(trace: Trace) -> list[tuple[str, str]]:
    found = [(ns, SYMBOLS[kind]) for ns, kind in _decisions(trace)]
    for utterance in trace.user:
        role = one_line(trace.scenario.turns[utterance.turn].role)
        found += [(utterance.start_ns, f"user starts ({role})"), (utterance.end_ns, "user stops")]
    for reply in trace.replies:
        if reply.audible_start_ns is not None:
            found.append((reply.audible_start_ns, "system becomes audible"))
        if reply.audible_end_ns is not None:
            found.append((reply.audible_end_ns, "system becomes silent"))
        found += [(underrun.at_ns, f"playback underrun of {seconds(underrun.gap_ns)}") for underrun in reply.underruns]
    return [(seconds(ns), what) for ns, what in sorted(found, key=lambda item: item[0])]
