"""Ranges of options, as annotated types: a value outside is refused before anything runs.

`reply_ms: Milliseconds = 2000` in the signature of a component's factory is checked by `fobench.api.registry.spec`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True)
class Between:
    """The range of a number, both ends included."""

    low: float
    high: float

    def __str__(self) -> str:
        low, high = (f"{end:,}" if isinstance(end, int) else f"{end:g}" for end in (self.low, self.high))
        return f"from {low} to {high}"


SCENARIOS = Between(1, 100_000)  # of one suite
WORKERS = Between(1, 256)
SEED = Between(0, 2**63 - 1)
STEP_S = Between(0.001, 86_400)
MARGIN = Between(0.001, 100)
MILLISECONDS = Between(0, 600_000)
DECIBELS = Between(-300.0, 300.0)

Scenarios = Annotated[int, SCENARIOS]
Workers = Annotated[int, WORKERS]
Threads = Annotated[int, WORKERS]
Seed = Annotated[int, SEED]
Seconds = Annotated[float, Between(0.0, 86_400.0)]
StepSeconds = Annotated[float, STEP_S]  # of one step of a system
Margin = Annotated[float, MARGIN]  # percentage points
Milliseconds = Annotated[int, MILLISECONDS]  # within a conversation
Decibels = Annotated[float, DECIBELS]
Tokens = Annotated[int, Between(1, 1_000_000)]
Index = Annotated[int, Between(0, 1_000_000_000)]
Retries = Annotated[int, Between(0, 100)]
Few = Annotated[int, Between(1, 100)]  # of what costs much each: beams, codebooks
Megabytes = Annotated[float, Between(0.0, 10_000.0)]
Amount = Annotated[float, Between(0.0, 10.0)]
Factor = Annotated[float, Between(0.01, 100)]  # of a speed or a length
