"""A system in a process of its own, driven through the process host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fobench.api.types import AudioChunk, Message
from fobench.execution.process_host import ProcessHost
from fobench.simulation.driver import PlaybackPosition, Step


class RemoteDriver:
    """A `SystemDriver` whose `LocalDriver` runs in a `ProcessHost`."""

    def __init__(self, host: ProcessHost) -> None:
        self._host = host

    def rates(self) -> tuple[int, int, int]:
        rates: tuple[int, int, int] = self._host.call("rates")
        return rates

    def about(self) -> dict[str, Any]:
        about: dict[str, Any] = self._host.call("about")
        return about

    def open(self, seed: int) -> None:
        self._host.call("open", seed)

    def push(self, chunk: AudioChunk, heard: PlaybackPosition | None, more: bool = False) -> Step:
        step: Step = self._host.call("push", chunk, heard, more)
        return step

    def step(self) -> Step:
        step: Step = self._host.call("step")
        return step

    def finish(self) -> Step:
        step: Step = self._host.call("finish")
        return step

    def close(self) -> None:
        self._host.call("close")

    def answer(self, history: Sequence[Message], seed: int) -> str | None:
        answer: str | None = self._host.call("answer", history, seed)
        return answer
