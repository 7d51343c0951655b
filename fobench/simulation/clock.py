"""Clocks: the timeline of a scenario, in integer nanoseconds from its start.

Three times are distinguished. *media*: position in the audio. *compute*: when a computation ends. *playback*: when the
listener hears the result. User audio arrives on the timeline at real-time pace, and time passes while the system computes.
`VirtualClock` simulates the timeline with measured or declared costs; `WallClock` is real time. Audio that arrives while
the system computes is queued, so that slow hardware shows as latency.
"""

from __future__ import annotations

import time
from typing import Protocol

from fobench.api.types import NS_PER_S, Event
from fobench.simulation.costs import CostTable, media_ns, step_name


class Clock(Protocol):
    """The timeline of one scenario, ns from its start."""

    @property
    def now_ns(self) -> int: ...

    def start(self) -> None:
        """Sets the time to 0: the conversation begins."""

    def wait_until(self, at_ns: int) -> None:
        """Advances to `at_ns`; returns at once if that is in the past."""

    def spend(self, event: Event | None, measured_ns: int) -> int:
        """Accounts for a step of work that took `measured_ns`; returns the step's cost on this clock in ns."""

    def time_of(self, event: Event) -> int:
        """When `event` happened, ns: by its stamp, if the system lives in real time (`fobench.api.live`), else now."""


class VirtualClock:
    """Discrete-event time. Costs are measured, or declared by a `CostTable` (then bit-identical on every machine)."""

    def __init__(self, costs: CostTable | None = None) -> None:
        self._costs = costs
        self._now_ns = 0

    def start(self) -> None:
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

    def time_of(self, event: Event) -> int:
        return self._now_ns


class WallClock:
    """Real time with absolute deadlines, so that waiting accumulates no drift."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self._start_ns = time.perf_counter_ns()

    @property
    def now_ns(self) -> int:
        return time.perf_counter_ns() - self._start_ns

    def wait_until(self, at_ns: int) -> None:
        while (left := at_ns - self.now_ns) > 0:
            time.sleep(left / NS_PER_S)

    def spend(self, event: Event | None, measured_ns: int) -> int:
        return measured_ns

    def time_of(self, event: Event) -> int:
        now = self.now_ns
        return now if event.compute_ns is None else max(0, min(event.compute_ns - self._start_ns, now))
