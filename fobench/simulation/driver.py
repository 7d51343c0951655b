"""The driver protocol: the replay's access to a system, one step at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from fobench.api.types import AudioChunk, Event, Message

Step = tuple[Event | None, int]  # the event of a step of work (None: no work left), and the step's duration in ns
PlaybackPosition = tuple[int, int]  # (reply number, samples of it that were played)


class SystemDriver(Protocol):
    """The replay's interface to a system, implemented in this process or by a child process.

    `rates`: (input Hz, output Hz, samples per chunk). `real_time`: whether the system lives in real time, so that only the wall
    clock measures it. `push` takes a chunk and the playback position in; with `more`, another
    chunk has arrived already and no work is done. Its events are as `event_check.checked_event` returns them. `step` does one unit of work; `answer` is the text route.
    Raises SystemFailure where the system fails.
    """

    def rates(self) -> tuple[int, int, int]: ...

    def real_time(self) -> bool: ...

    def about(self) -> dict[str, Any]: ...

    def open(self, seed: int) -> None: ...

    def push(self, chunk: AudioChunk, heard: PlaybackPosition | None, more: bool = False) -> Step: ...

    def step(self) -> Step: ...

    def finish(self) -> Step: ...

    def close(self) -> None: ...

    def answer(self, history: Sequence[Message], seed: int) -> str | None: ...
