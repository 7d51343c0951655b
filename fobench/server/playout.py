"""What a client has played so far, by the time: replies are assumed to be played as they arrive, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class PlayedReply:
    """A reply at the client: when its playback began, and its length so far. Times in ns."""

    number: int
    begun_ns: int
    samples: int = 0
    stopped: int | None = None  # samples after which it was stopped
    gap_ns: int = 0  # time in which the buffer was empty
    dropped: bool = False  # whether it was stopped before it began


@dataclass(slots=True)
class Playout:
    """The loudspeaker of a client at `rate_hz` (of the system's output)."""

    rate_hz: int
    _replies: list[PlayedReply] = field(default_factory=list)  # those that are not over, and the last one that is

    def add(self, reply: int, samples: int, now_ns: int) -> None:
        """Registers audio that is sent now."""
        current = self._replies[-1] if self._replies else None
        if current is None or current.number != reply:
            begun = now_ns if current is None else max(now_ns, self._end_ns(current))
            waiting = [known for known in self._replies[:-1] if self._end_ns(known) > now_ns]
            current = PlayedReply(reply, begun)
            self._replies = [*waiting, *self._replies[-1:], current]
        current.gap_ns += max(0, now_ns - self._end_ns(current))
        current.samples += samples

    def stop(self, now_ns: int) -> None:
        """Registers that nothing is played on: neither the reply that is heard now nor those that wait behind it."""
        for reply in self._replies:
            reply.dropped = reply.dropped or reply.begun_ns >= now_ns
            reply.stopped = self._played(reply, now_ns)
            reply.begun_ns = min(reply.begun_ns, now_ns)

    def truncate(self, number: int, samples: int, now_ns: int) -> None:
        """Registers how much of a reply was heard, as the client says; it is not played on, and what waits behind it moves up."""
        free_ns = now_ns
        for reply in self._replies:
            if reply.number == number:
                reply.stopped = min(samples, reply.samples)
            reply.begun_ns = min(reply.begun_ns, free_ns)
            free_ns = max(free_ns, self._end_ns(reply))

    def position(self, now_ns: int) -> tuple[int, int] | None:
        """(reply number, samples of it that were played) of the latest reply that has begun; None without one."""
        for reply in reversed(self._replies):
            if now_ns > reply.begun_ns and not reply.dropped:
                return reply.number, self._played(reply, now_ns)
        return None

    def is_playing(self, now_ns: int) -> bool:
        """Whether audio that was sent is still to be heard."""
        return any(r.stopped is None and self._played(r, now_ns) < r.samples for r in self._replies)

    def _end_ns(self, reply: PlayedReply) -> int:
        length = reply.samples if reply.stopped is None else reply.stopped
        return reply.begun_ns + reply.gap_ns + length * 1_000_000_000 // self.rate_hz

    def _played(self, reply: PlayedReply, now_ns: int) -> int:
        if reply.stopped is not None:
            return reply.stopped
        played = (now_ns - reply.begun_ns - reply.gap_ns) * self.rate_hz // 1_000_000_000
        return max(0, min(played, reply.samples))
