"""One client's connection, whatever its protocol: its audio goes to the system's session, the system's events to the client."""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from fobench.api.components import System
from fobench.api.types import Action, Event, EventKind, Samples
from fobench.audio.stream_resampler import StreamResampler
from fobench.errors import SystemFailure
from fobench.server.counters import Counters
from fobench.server.live_runner import MOST_QUEUED_S, LiveRunner
from fobench.server.playout import Playout

MOST_AHEAD_S = 60.0  # by which the audio of a client may run ahead of real time
MOST_UNSENT = 20_000  # messages that a client has not read
MOST_UNSENT_BYTES = 1 << 24
MOST_BLOCKED_S = 30.0  # in which a client takes nothing of what is sent


class Hangup(Exception):
    """The connection must end. `code`: of the WebSocket; `reason`: the kind of end, for the counters."""

    def __init__(self, code: int, reason: str, text: str) -> None:
        super().__init__(text)
        self.code, self.reason = code, reason


@dataclass(slots=True)
class Outgoing:
    """Messages that wait to be sent, in order, no more than a client may leave unread."""

    _queue: asyncio.Queue[str | bytes] = field(default_factory=asyncio.Queue)
    _bytes: int = 0
    _taken_ns: int | None = None  # when the message that is sent now was taken

    def put(self, message: str | bytes) -> bool:
        """Adds a message. False where there are too many: it is not added then."""
        if self._queue.qsize() >= MOST_UNSENT or self._bytes + len(message) > MOST_UNSENT_BYTES:
            return False
        self._bytes += len(message)
        self._queue.put_nowait(message)
        return True

    async def get(self) -> str | bytes:
        """The next message; the one before it has been sent."""
        self._taken_ns = None
        message = await self._queue.get()
        self._bytes -= len(message)
        self._taken_ns = time.perf_counter_ns()
        return message

    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return self._queue.empty()

    def blocked_s(self, now_ns: int) -> float:
        """For how long the message that is sent now has been under way."""
        return 0.0 if self._taken_ns is None else (now_ns - self._taken_ns) / 1e9


@dataclass(slots=True, eq=False)
class Call(ABC):
    """A client and its session of the system. All but `_deliver` and `_heard` is called in the event loop."""

    system: System
    seed: int
    loop: asyncio.AbstractEventLoop
    counters: Counters
    outgoing: Outgoing = field(init=False, default_factory=Outgoing)
    ended: Hangup | None = field(init=False, default=None)
    active_ns: int = field(init=False, default_factory=time.perf_counter_ns)  # of the client's last sign of life
    _runner: LiveRunner = field(init=False)
    _playout: Playout = field(init=False)
    _spoken: StreamResampler | None = field(init=False, default=None)  # of the reply that is generated
    _replies: int = field(init=False, default=-1)  # the number of the last reply, as the system counts
    _dropped: int | None = field(init=False, default=None)  # the reply of which nothing more is sent
    _ahead_s: float = field(init=False, default=0.0)  # by which the client's audio is ahead of real time
    _ahead_ns: int = field(init=False, default=0)  # when that was so
    _onset_ns: int | None = field(init=False, default=None)  # of the user's latest sound, as the system heard it
    _turn_end_ns: int | None = field(init=False, default=None)
    _decided_ns: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._playout = Playout(self.system.output_rate_hz)
        self._runner = LiveRunner(self.system, self.seed, self._deliver, self._heard)

    def begin(self) -> None:
        self._runner.start()

    def end(self) -> None:
        self._runner.close()
        self.counters.ended(self._runner.times)

    def is_working(self) -> bool:
        """Whether the session of the system is open, which may be for some time after `end`."""
        return self._runner.is_working()

    @property
    def times(self) -> tuple[int, int, int]:
        """(ns of work, ns of the user's audio, ns of the replies' audio) so far."""
        return self._runner.times.all()

    def is_replying(self) -> bool:
        """Whether a reply is generated or not sent yet."""
        return self._generates() or not self.outgoing.is_empty()

    @abstractmethod
    async def take(self, message: str | bytes) -> None:
        """Handles a message of the client. What cannot be followed is answered by an error, and the session goes on."""

    @abstractmethod
    def _tell(self, event: Event) -> None:
        """Tells the client of an event of the system."""

    @abstractmethod
    def _report_failure(self, text: str) -> None:
        """Tells the client that the system has failed."""

    @abstractmethod
    def _generates(self) -> bool:
        """Whether a reply is generated."""

    # ---- the client's side -------------------------------------------------------------------------------------------

    def _post(self, message: str | bytes) -> None:
        """Queues a message for the client. A client that does not read is hung up on."""
        if self.ended is None and not self.outgoing.put(message):
            self.hang_up(1008, "unread", f"{MOST_UNSENT:,} messages or {MOST_UNSENT_BYTES >> 20} MiB are not read")

    def hang_up(self, code: int, reason: str, text: str) -> None:
        """Has the connection ended; the first reason counts."""
        self.ended = self.ended or Hangup(code, reason, text)

    def _hear(self, samples: Samples, most_ahead_s: float = MOST_AHEAD_S) -> bool:
        """Counts audio at the system's rate against real time; False, and a hang-up, where it is too far ahead."""
        now = time.perf_counter_ns()
        passed, self._ahead_ns = (now - self._ahead_ns) / 1e9, now
        self._ahead_s = max(0.0, self._ahead_s - passed) + len(samples) / self.system.input_rate_hz
        if self._ahead_s <= most_ahead_s:
            return True
        self.hang_up(1008, "flood", f"the audio is more than {most_ahead_s:.0f} s ahead of real time")
        return False

    def _push(self, samples: Samples, most_s: float = MOST_QUEUED_S) -> bool:
        """Hands audio to the system; False, and a hang-up, where it is too far behind."""
        if self._runner.push(samples, most_s):
            return True
        self.hang_up(1013, "behind", f"the system is more than {most_s:.0f} s behind: too many sessions, or too slow")
        return False

    # ---- the system's side -------------------------------------------------------------------------------------------

    def _deliver(self, event: Event | SystemFailure | None) -> None:
        """Called in the runner's thread, whose current step of work may end after the server."""
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self.loop.call_soon_threadsafe(self._happened, event)

    def _heard(self) -> tuple[int, int] | None:
        """Called in the runner's thread."""
        return self._playout.position(time.perf_counter_ns())

    def _happened(self, event: Event | SystemFailure | None) -> None:
        if isinstance(event, SystemFailure):
            self.counters.failed += 1
            self._report_failure(str(event))
            self.hang_up(1011, "failed", "the system failed")
        elif event is not None:
            self._measure(event, time.perf_counter_ns())
            self._tell(event)

    def _measure(self, event: Event, now: int) -> None:
        if event.kind == EventKind.SPEECH_START:
            self._onset_ns = now
        elif event.kind == EventKind.SPEECH_END:
            self._turn_end_ns = now
        elif event.kind == EventKind.DECISION and event.data["action"] == Action.SPEAK:
            self.counters.replies += 1
            self._replies += 1
            self._decided_ns = now
        elif event.kind == EventKind.DECISION and event.data["action"] == Action.YIELD:
            self.counters.interruptions += 1
            if self._onset_ns is not None:
                self.counters.stop.add(now - self._onset_ns)

    def _number(self, event: Event) -> int:
        """The number of the reply that an event belongs to: the event's own, else the last."""
        number: int = event.data.get("reply", max(0, self._replies))
        return number

    def _speak(self, event: Event, rate_hz: int) -> Samples:
        """Counts the audio of a reply as sent; returns it at the client's rate."""
        audio, now = event.data["audio"], time.perf_counter_ns()
        if self._decided_ns is not None:
            self.counters.first_audio.add(now - self._decided_ns)
            if self._turn_end_ns is not None:
                self.counters.response.add(now - self._turn_end_ns)
            self._decided_ns = self._turn_end_ns = None
        self._playout.add(self._number(event), len(audio.samples), now)
        self._spoken = self._spoken or StreamResampler(self.system.output_rate_hz, rate_hz)
        return self._spoken.push(audio.samples)
