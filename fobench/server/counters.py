"""What a server has done, in the text format of Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

BOUNDS_MS = (50, 100, 200, 300, 500, 700, 1_000, 1_500, 2_000, 5_000)  # of the histogram of latencies


@dataclass(slots=True)
class Counters:
    """Counters of all sessions. They are changed in the server's event loop alone."""

    sessions: int = 0  # now
    opened: int = 0
    refused: int = 0
    failed: int = 0
    hung_up: int = 0
    replies: int = 0
    interruptions: int = 0
    busy_ns: int = 0
    audio_ns: int = 0
    latency_ns: int = 0
    _latencies: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))

    def first_audio(self, latency_ns: int) -> None:
        """Counts the time from the decision to speak to the first audio of a reply."""
        self.latency_ns += latency_ns
        self._latencies[bisect_left(BOUNDS_MS, latency_ns / 1e6)] += 1

    def worked(self, busy_ns: int, audio_ns: int) -> None:
        """Counts the work of a session that has ended, and the audio of its user."""
        self.busy_ns += busy_ns
        self.audio_ns += audio_ns

    def text(self) -> str:
        """All counters, one a line, with their meaning."""
        lines: list[str] = []
        for name, kind, meaning, value in (
            ("sessions", "gauge", "Sessions that are open.", self.sessions),
            ("sessions_opened_total", "counter", "Sessions that were opened.", self.opened),
            ("sessions_refused_total", "counter", "Connections that were refused: limit, key or origin.", self.refused),
            ("sessions_failed_total", "counter", "Sessions that the system's failure ended.", self.failed),
            ("sessions_hung_up_total", "counter", "Sessions that the server ended for a limit.", self.hung_up),
            ("replies_total", "counter", "Replies that were begun.", self.replies),
            ("interruptions_total", "counter", "Replies that the user stopped.", self.interruptions),
            ("work_seconds_total", "counter", "Work of the system in ended sessions.", self.busy_ns / 1e9),
            ("audio_seconds_total", "counter", "Audio of the users of ended sessions.", self.audio_ns / 1e9),
        ):
            lines += [f"# HELP fobench_{name} {meaning}", f"# TYPE fobench_{name} {kind}", f"fobench_{name} {value:g}"]
        name = "fobench_first_audio_seconds"
        lines += [f"# HELP {name} From the decision to speak to the first audio.", f"# TYPE {name} histogram"]
        total = 0
        for bound, count in zip((*BOUNDS_MS, None), self._latencies, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{"+Inf" if bound is None else f"{bound / 1000:g}"}"}} {total}')
        return "\n".join([*lines, f"{name}_sum {self.latency_ns / 1e9:g}", f"{name}_count {total}", ""])
