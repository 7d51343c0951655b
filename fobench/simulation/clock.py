"""Time, three times over.

*media*: position in the audio. *compute*: when a computation ends. *playback*: when a listener hears the result. A `Clock`
advances the run's timeline, in integer nanoseconds from the scenario's start: user audio arrives on it in real-time pace,
and while the system computes, time passes. `VirtualClock` simulates it, with measured or declared costs; `WallClock` is
real time. Audio that arrives while the system computes queues up: slow hardware looks slow.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from fobench.api.types import NS_PER_S, Event
from fobench.simulation.costs import CostTable, media_ns, step_name

if TYPE_CHECKING:
    pass


class Clock(Protocol):
    """The timeline of one scenario, ns from its start."""

    @property
    def now_ns(self) -> int: ...

    def wait_until(self, at_ns: int) -> None:
        """Lets time pass until `at_ns`; returns at once if that is past."""

    def spend(self, event: Event | None, measured_ns: int) -> int:
        """Accounts for a step of work that took `measured_ns`; returns its cost on this clock, in ns."""


class VirtualClock:
    """Discrete-event time: it jumps. Costs are as measured, or those of a `CostTable` (then bit-identical anywhere)."""

    def __init__(self, costs: CostTable | None = None) -> None:
        self._costs = costs
        self._now_ns = 0

    @property
    def now_ns(self) -> int:
        return self._now_ns

    def wait_until(self, at_ns: int) -> None:
        self._now_ns = max(self._now_ns, at_ns)

    def spend(self, event: Event | None, measured_ns: int) -> int:
        cost = measured_ns if self._costs is None else self._costs.cost_ns(step_name(event), media_ns(event))
        self._now_ns += cost
        return cost


class WallClock:
    """Real time, with absolute deadlines: waiting never accumulates drift."""

    def __init__(self) -> None:
        self._start_ns = time.perf_counter_ns()

    @property
    def now_ns(self) -> int:
        return time.perf_counter_ns() - self._start_ns

    def wait_until(self, at_ns: int) -> None:
        while (left := at_ns - self.now_ns) > 0:
            time.sleep(left / NS_PER_S)

    def spend(self, event: Event | None, measured_ns: int) -> int:
        return measured_ns
