"""The progress of a run, and who is told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fobench.api.trace import Trace


@dataclass(slots=True)
class Progress:
    """How far a run is; handed to a watcher after each step."""

    total: int
    done: int = 0
    failed: int = 0
    message: str = ""
    trace: Trace | None = None


Watcher = Callable[[Progress], None]
