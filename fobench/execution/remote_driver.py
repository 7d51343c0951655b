"""A system in a process of its own, driven through the process host."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from fobench.api.types import NS_PER_S, AudioChunk, Message, samples_to_ns
from fobench.errors import SystemFailure
from fobench.process_host import ProcessHost
from fobench.simulation.driver import PlaybackPosition, Step

MOST_STEPS = 20  # time of one conversation, in time limits of a step, beside what follows
SLOWEST = 100  # seconds of work for a second of the user's audio


class RemoteDriver:
    """A `SystemDriver` whose `LocalDriver` runs in a `ProcessHost`.

    A conversation that takes longer than `MOST_STEPS` time limits and `SLOWEST` times its audio fails as `endless`.
    """

    def __init__(self, host: ProcessHost) -> None:
        self._host = host
        self._rates: tuple[int, int, int] | None = None
        self._real_time: bool | None = None
        self._deadline = float("inf")  # of the conversation, of time.monotonic

    def rates(self) -> tuple[int, int, int]:
        """The rates as they were when the system was first asked: it cannot change them."""
        if self._rates is None:
            self._rates = self._host.call("rates")
        return self._rates

    def real_time(self) -> bool:
        if self._real_time is None:
            self._real_time = self._host.call("real_time")
        return self._real_time

    def about(self) -> dict[str, Any]:
        about: dict[str, Any] = self._host.call("about")
        return about

    def open(self, seed: int) -> None:
        self._host.call("open", seed)
        self._deadline = time.monotonic() + MOST_STEPS * self._host.time_limit_s

    def push(self, chunk: AudioChunk, heard: PlaybackPosition | None, more: bool = False) -> Step:
        self._deadline += SLOWEST * samples_to_ns(len(chunk.samples), chunk.rate_hz) / NS_PER_S
        return self._step("push", chunk, heard, more)

    def step(self) -> Step:
        return self._step("step")

    def finish(self) -> Step:
        return self._step("finish")

    def close(self) -> None:
        if self._host.is_running:  # one that was ended is started again by the next conversation alone
            self._host.call("close")

    def answer(self, history: Sequence[Message], seed: int) -> str | None:
        answer: str | None = self._host.call("answer", history, seed)
        return answer

    def _step(self, method: str, *args: Any) -> Step:
        step: Step = self._host.call(method, *args)
        if time.monotonic() > self._deadline:
            self._host.stop()
            raise SystemFailure(
                "endless", "the conversation takes too long: each step is within the time limit, the sum is not"
            )
        return step
