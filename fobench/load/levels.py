"""Conversations of a suite, several at a time on the wall clock, with one system in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

import numpy as np

from fobench.api import registry
from fobench.api.components import Metric, System
from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import NS_PER_MS
from fobench.execution.system_driver import LocalDriver
from fobench.simulation import replay
from fobench.simulation.clock import WallClock

RESPONSE, GAPS = "response_ms", "underruns"  # metrics
MOST_LAG_MS = 200.0  # by which audio may be handed over late, at the 90th percentile, by a system that keeps real time
MOST_GAPS = 0.1  # gaps per reply, by a system that keeps real time
STAGGER_S = 0.53  # between the beginnings of the first conversations


@dataclass(slots=True)
class LoadLevel:
    """What `sessions` conversations at a time were like."""

    sessions: int
    traces: list[Trace] = field(default_factory=list)
    wall_s: float = 0.0

    def summary(self) -> dict[str, Any]:
        """Plain data: counts, percentiles in ms (None without a value), gaps per reply, and whether real time was kept."""
        response, gaps = _values(self.traces, RESPONSE, "values_ms"), _values(self.traces, GAPS)
        lags = [trace.compute.get("lag_ns", 0) / NS_PER_MS for trace in self.traces if not trace.failure]
        found: dict[str, Any] = {
            "sessions": self.sessions,
            "conversations": len(self.traces),
            "failed": sum(trace.failure is not None for trace in self.traces),
            "replies": sum(len(trace.replies) for trace in self.traces),
            "wall_s": round(self.wall_s, 1),
            "gaps_per_reply": round(sum(gaps) / len(gaps), 3) if gaps else None,
            "lag_p90_ms": _percentile(lags, 90),
        }
        found |= {f"response_p{p}_ms": _percentile(response, p) for p in (50, 90, 99)}
        kept = bool(lags) and not found["failed"] and found["lag_p90_ms"] <= MOST_LAG_MS
        return {**found, "real_time": kept and (found["gaps_per_reply"] or 0.0) <= MOST_GAPS}


def measure(
    system: System, scenarios: Sequence[Scenario], sessions: int, rounds: int, tell: Callable[[Trace], None]
) -> LoadLevel:
    """Holds `rounds` conversations in each of `sessions` threads; each takes the next scenario when it is free.

    `tell` gets each trace when it is complete. A failure of the system is part of its trace.
    """
    level, lock = LoadLevel(sessions), threading.Lock()
    waiting = iter(list(islice(cycle(scenarios), sessions * rounds)))
    start = time.perf_counter()

    def hold(number: int) -> None:
        time.sleep(number * STAGGER_S)
        driver = LocalDriver(system)
        for _ in range(rounds):
            with lock:
                scenario = next(waiting)
            trace = replay.replay(scenario, driver, WallClock(), clock_name="wall").trace
            with lock:
                level.traces.append(trace)
                tell(trace)

    threads = [threading.Thread(target=hold, args=(number,), daemon=True) for number in range(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
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


def _values(traces: Sequence[Trace], name: str, key: str = "") -> list[float]:
    """The values of a metric over the traces that have one; those of `key` in its detail, where it is given."""
    metric: Metric = registry.create("metrics", name)
    scores = [metric.score(trace, trace.scenario) for trace in traces]
    if key:
        return [value for score in scores for value in score.detail.get(key, ())]
    return [score.value for score in scores if score.value is not None]
