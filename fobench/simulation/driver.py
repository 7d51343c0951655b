"""The driver's contract: how the replay asks a system for its next step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from fobench.api.types import AudioChunk, Event, Message

Step = tuple[Event | None, int]  # what a step of work reported (None: nothing left to do), and how long it took in ns
Heard = tuple[int, int]  # (reply, samples of it that were heard)


class SystemDriver(Protocol):
    """What the runner needs of a system: `Driver` here, or the same in another process."""

    def rates(self) -> tuple[int, int, int]: ...

    def about(self) -> dict[str, Any]: ...

    def open(self, seed: int) -> None: ...

    def push(self, chunk: AudioChunk, heard: Heard | None, more: bool = False) -> Step: ...

    def step(self) -> Step: ...

    def finish(self) -> Step: ...

    def close(self) -> None: ...

    def answer(self, history: Sequence[Message], seed: int) -> str | None: ...
