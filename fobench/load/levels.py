"""Conversations of a suite, several at a time on the wall clock, with one system."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

import numpy as np

from fobench.api import registry
from fobench.api.components import Metric
from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import NS_PER_MS, Score
from fobench.execution import conversations
from fobench.simulation import replay
from fobench.simulation.clock import WallClock
from fobench.simulation.driver import SystemDriver

RESPONSE, UNDERRUNS = "response_ms", "underruns"  # metrics
# By which audio may be handed over late, at the 90th percentile, by a system that keeps real time. It waits while a step of work runs: a cascade's
# recognition of a turn takes 0.2 s with nobody else there.
MOST_LAG_MS = 500.0
MOST_UNDERRUNS = 0.1  # per reply, by a system that keeps real time


@dataclass(slots=True)
class LoadLevel:
    """What `sessions` conversations at a time were like."""

    sessions: int
    traces: list[Trace] = field(default_factory=list)
    wall_s: float = 0.0

    def summary(self) -> dict[str, Any]:
        """Plain data: counts, percentiles in ms (None without a value), underruns per reply, and whether real time was kept.

        `failures`: {kind: {"count", "example": the first one's message}} of the conversations that failed.
        """
        responses = [value for score in _scores(self.traces, RESPONSE) for value in score.detail.get("values_ms", ())]
        underruns = [score for score in _scores(self.traces, UNDERRUNS) if score.value is not None]
        played = sum(score.detail["replies"] for score in underruns)
        lags = [trace.compute.get("lag_ns", 0) / NS_PER_MS for trace in self.traces if not trace.failure]
        found: dict[str, Any] = {
            "sessions": self.sessions,
            "conversations": len(self.traces),
            "failed": sum(trace.failure is not None for trace in self.traces),
            "failures": self._failures(),
            "replies": sum(len(trace.replies) for trace in self.traces),
            "wall_s": round(self.wall_s, 1),
            "gaps_per_reply": round(sum(score.value or 0.0 for score in underruns) / played, 3) if played else None,
            "lag_p90_ms": _percentile(lags, 90),
        }
        found |= {f"response_p{p}_ms": _percentile(responses, p) for p in (50, 90, 99)}
        kept = bool(lags) and not found["failed"] and found["lag_p90_ms"] <= MOST_LAG_MS
        return {**found, "real_time": kept and (found["gaps_per_reply"] or 0.0) <= MOST_UNDERRUNS}

    def _failures(self) -> dict[str, dict[str, Any]]:
        failures = [trace.failure for trace in self.traces if trace.failure]
        counts = Counter(failure.kind for failure in failures)
        examples = {failure.kind: failure.message for failure in reversed(failures)}
        return {kind: {"count": count, "example": examples[kind]} for kind, count in counts.most_common()}


def measure(
    drivers: Sequence[SystemDriver], scenarios: Sequence[Scenario], rounds: int, tell: Callable[[Trace], None]
) -> LoadLevel:
    """Holds a conversation with each driver at a time, `rounds` times as many in all: a free one takes the next scenario.

    `tell` gets each trace when it is complete. A failure of the system is part of its trace.
    """
    level, lock, stopping = LoadLevel(len(drivers)), threading.Lock(), threading.Event()
    waiting: queue.SimpleQueue[Scenario] = queue.SimpleQueue()
    for scenario in islice(cycle(scenarios), len(drivers) * rounds):
        waiting.put(scenario)

    def holder(driver: SystemDriver) -> Callable[[Scenario], None]:
        def hold(scenario: Scenario) -> None:
            trace = replay.replay(scenario, driver, WallClock(), clock_name="wall").trace
            with lock:
                if not stopping.is_set():  # else it was cut off
                    level.traces.append(trace)
                    tell(trace)

        return hold

    start = time.perf_counter()
    conversations.hold(waiting, [holder(driver) for driver in drivers], stopping)
    level.wall_s = time.perf_counter() - start
    return level


def largest(levels: Sequence[LoadLevel]) -> int:
    """The most sessions up to which every level kept real time; 0 if the first did not."""
    found = 0
    for level in sorted(levels, key=lambda level: level.sessions):
        if not level.summary()["real_time"]:
            break
        found = level.sessions
    return found


def _percentile(values: Sequence[float], share: float) -> float | None:
    return round(float(np.percentile(values, share)), 1) if values else None


def _scores(traces: Sequence[Trace], name: str) -> list[Score]:
    metric: Metric = registry.create("metrics", name)
    return [metric.score(trace, trace.scenario) for trace in traces]
