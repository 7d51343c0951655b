"""What a server has done, in the text format of Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fobench.server.live_runner import WorkTimes

LATENCY_BOUNDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 5.0)  # s
RTF_BOUNDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)
REFUSED = ("sessions", "key", "origin", "path", "request", "rate", "starting", "stopping")  # reasons
DROPPED = ("idle", "too_long", "flood", "behind", "unread", "message_size", "protocol", "keepalive", "stopping")


@dataclass(slots=True)
class Histogram:
    """A distribution, counted in buckets with upper `bounds`."""

    bounds: Sequence[float]
    total: float = 0.0
    counts: Counter[int] = field(default_factory=Counter)

    def observe(self, value: float) -> None:
        self.total += value
        self.counts[bisect_left(self.bounds, value)] += 1

    def add(self, ns: int) -> None:
        """Counts a duration in ns, as seconds."""
        self.observe(ns / 1e9)

    def lines(self, name: str) -> Iterator[str]:
        seen = 0
        for i, bound in enumerate((*self.bounds, None)):
            seen += self.counts[i]
            yield f'{name}_bucket{{le="{"+Inf" if bound is None else f"{bound:g}"}"}} {seen}'
        yield f"{name}_sum {self.total:g}"
        yield f"{name}_count {seen}"


def _latencies() -> Histogram:
    return Histogram(LATENCY_BOUNDS)


@dataclass(slots=True)
class Counters:
    """Counters of all sessions. They are changed in the server's event loop alone."""

    sessions: int = 0  # now
    opened: int = 0
    failed: int = 0
    replies: int = 0
    interruptions: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # connections, by reason
    dropped: Counter[str] = field(default_factory=Counter)  # sessions, by reason
    response: Histogram = field(default_factory=_latencies)
    first_audio: Histogram = field(default_factory=_latencies)
    stop: Histogram = field(default_factory=_latencies)
    rtf: Histogram = field(default_factory=lambda: Histogram(RTF_BOUNDS))
    running: Callable[[], Iterable[tuple[int, int, int]]] = tuple  # the times of the sessions that are open
    _ended: WorkTimes = field(default_factory=WorkTimes)

    def ended(self, times: WorkTimes) -> None:
        """Counts the work of a session that has ended, and its audio."""
        self._ended.busy_ns += times.busy_ns
        self._ended.audio_ns += times.audio_ns
        self._ended.spoken_ns += times.spoken_ns
        if times.audio_ns:
            self.rtf.observe(times.busy_ns / times.audio_ns)

    def text(self) -> str:
        """All counters, one a line, with their meaning."""
        work, heard, spoken = (sum(column) / 1e9 for column in zip(self._ended.all(), *self.running(), strict=True))
        lines: list[str] = []
        for name, kind, meaning, value in (
            ("sessions", "gauge", "Sessions that are open.", self.sessions),
            ("sessions_opened_total", "counter", "Sessions that were opened.", self.opened),
            ("sessions_failed_total", "counter", "Sessions that the system's failure ended.", self.failed),
            ("replies_total", "counter", "Replies that were begun.", self.replies),
            ("interruptions_total", "counter", "Replies that the user stopped.", self.interruptions),
            ("work_seconds_total", "counter", "Work of the system; by heard_seconds: the real-time factor.", work),
            ("heard_seconds_total", "counter", "Audio of the users, silence included.", heard),
            ("spoken_seconds_total", "counter", "Audio of the replies.", spoken),
        ):
            lines += [*_head(name, kind, meaning), f"fobench_{name} {value:g}"]
        refused, dropped = "Connections that were refused.", "Sessions that the server ended."
        lines += _by_reason("connections_refused_total", refused, self.refused, REFUSED)
        lines += _by_reason("sessions_dropped_total", dropped, self.dropped, DROPPED)
        for name, meaning, histogram in (
            (
                "response_seconds",
                "From the end of the user's speech, as the system tells it, to the reply.",
                self.response,
            ),
            ("first_audio_seconds", "From the decision to speak to the first audio.", self.first_audio),
            ("stop_seconds", "From the user's onset in a reply, as the system tells it, to its stop.", self.stop),
            ("session_rtf", "Work by audio of the user, of sessions that have ended.", self.rtf),
        ):
            lines += [*_head(name, "histogram", meaning), *histogram.lines(f"fobench_{name}")]
        return "\n".join([*lines, ""])


def _head(name: str, kind: str, meaning: str) -> list[str]:
    return [f"# HELP fobench_{name} {meaning}", f"# TYPE fobench_{name} {kind}"]


def _by_reason(name: str, meaning: str, counts: Mapping[str, int], reasons: Sequence[str]) -> list[str]:
    values = [f'fobench_{name}{{reason="{reason}"}} {counts.get(reason, 0)}' for reason in reasons]
    return [*_head(name, "counter", meaning), *values]
