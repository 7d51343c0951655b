"""Drives one session of a system in real time, in a thread of its own: audio in as it comes, events out as they happen.

It does what the replay (`fobench.simulation.replay`) does on the wall clock: one step of work at a time, new audio first.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from fobench.api.components import System
from fobench.api.plain_data import Allowance
from fobench.api.types import AudioChunk, Event, EventKind, Samples
from fobench.errors import SystemFailure, describe_error
from fobench.simulation.event_check import checked_event

PATIENCE_S = 0.2  # without audio of the client, after which silence takes its place
MOST_QUEUED_S = 60.0  # audio that waits, at most
BYTES = 40_000_000  # of a conversation's events as plain data


@dataclass(slots=True)
class WorkTimes:
    """What the system's work on a session has taken, in ns, the user's audio that it was for, and the audio of its replies."""

    busy_ns: int = 0
    audio_ns: int = 0
    spoken_ns: int = 0

    def all(self) -> tuple[int, int, int]:
        return self.busy_ns, self.audio_ns, self.spoken_ns


@dataclass(slots=True)
class LiveRunner:
    """One session. `deliver` is called in the runner's thread, with each event, and last with None or the error."""

    system: System
    seed: int
    deliver: Callable[[Event | SystemFailure | None], None]
    position: Callable[[], tuple[int, int] | None]  # (reply number, samples played of it): asked before each chunk
    times: WorkTimes = field(default_factory=WorkTimes)
    _audio: queue.Queue[Samples | None] = field(default_factory=queue.Queue)
    _rest: Samples = field(default_factory=lambda: np.zeros(0, np.float32))
    _queued: int = 0  # samples handed in; written by those who call `push`, the two below by the runner's thread
    _silence: int = 0  # samples that the runner has put in where none were handed in
    _taken: int = 0  # samples of both that the session has heard
    _closing: bool = False
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="fobench-session", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_working(self) -> bool:
        """Whether the session of the system is open: after `close`, as long as its current step of work takes."""
        return self._thread.is_alive()

    def push(self, samples: Samples, most_s: float = MOST_QUEUED_S) -> bool:
        """Hands in audio [N] at the system's input rate. False where more than `most_s` of it would wait: it is not taken then."""
        if not len(samples):
            return True
        waiting = self._queued + self._silence - self._taken
        if (waiting + len(samples)) / self.system.input_rate_hz > most_s:
            return False
        self._queued += len(samples)
        self._audio.put(samples)
        return True

    def close(self) -> None:
        """Ends the session after its current step of work."""
        self._closing = True
        self._audio.put(None)

    def _run(self) -> None:
        end: SystemFailure | None = None
        try:
            with self.system.open(self.seed) as session:
                allowance = Allowance(BYTES)
                work: Iterator[Event] = iter(())
                event: Event | None = None
                while not self._closing:
                    for chunk in self._chunks(wait=event is None):  # all that have come are pushed before the next step
                        if (heard := self.position()) is not None:
                            session.heard(*heard)
                        start = time.perf_counter_ns()
                        work = iter(session.push(chunk))
                        self.times.busy_ns += time.perf_counter_ns() - start
                        self.times.audio_ns += chunk.duration_ns
                        self._taken += len(chunk.samples)
                    start = time.perf_counter_ns()
                    event = next(work, None)
                    self.times.busy_ns += time.perf_counter_ns() - start
                    if event is not None:
                        event = checked_event(event, self.system.output_rate_hz, allowance)
                        if event.kind == EventKind.AUDIO:
                            self.times.spoken_ns += event.data["audio"].duration_ns
                        self.deliver(event)
        except SystemFailure as error:
            end = error
        except Exception as error:  # a plugin may raise anything; this session ends, the others go on
            end = SystemFailure("raised", describe_error(error))
        self.deliver(end)

    def _chunks(self, wait: bool) -> list[AudioChunk]:
        """The chunks of the system's size that have come, often none. `wait`: not before a message has, while there is no work.

        Messages are often shorter than a chunk: one that does not complete a chunk must not keep the system from its work.
        """
        arrived = [self._rest]
        try:
            message = self._audio.get(wait, PATIENCE_S if wait else None)
            while message is not None:
                arrived.append(message)
                message = self._audio.get_nowait()
        except queue.Empty:
            if wait and len(arrived) == 1:
                arrived.append(np.zeros(int(PATIENCE_S * self.system.input_rate_hz), np.float32))
                self._silence += len(arrived[-1])
        waiting, size = np.concatenate(arrived), self.system.chunk
        count = len(waiting) // size
        self._rest, first = waiting[count * size :], self._taken
        rate_hz = self.system.input_rate_hz
        return [AudioChunk(waiting[i * size : (i + 1) * size], rate_hz, first + i * size) for i in range(count)]
