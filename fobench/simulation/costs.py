"""Latency profiles: tables of declared or fitted compute times by step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING, Any

from fobench import outside_files
from fobench.api.types import NS_PER_S, Event, EventKind
from fobench.errors import FobenchError

if TYPE_CHECKING:
    from fobench.api.trace import Trace

VERSION = 1
LONGEST_NS = 3_600 * NS_PER_S  # of one step, or of a second of audio
MAX_BYTES = 1 << 24
IDLE = "idle"  # the step of a push without work
SPECULATIVE = "speculative "  # begins the name of a step of a reply that may still be discarded
ADOPTED = "adopted"  # the step that emits an event of a speculative reply once the turn is over


def step_name(event: Event | None) -> str:
    """The name of a step of work in a cost table: the event's `work` if set, else its kind; `idle` for no event."""
    return IDLE if event is None else str(event.data.get("work", event.kind))


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a step: a fixed time, and a time per second of generated audio, both in ns."""

    fixed_ns: int = 0
    per_media_s_ns: int = 0


@dataclass(frozen=True, slots=True)
class CostFile:
    """The format of a file of costs."""

    version: int
    costs: dict[str, Cost]


@dataclass(frozen=True, slots=True)
class CostTable:
    """Declared costs by step name; an empty table makes every step free."""

    costs: Mapping[str, Cost] = field(default_factory=dict)

    def cost_ns(self, step: str, media_ns: int) -> int:
        if not self.costs:
            return 0
        if step not in self.costs:  # a table of a system that did not speculate
            step = step.removeprefix(SPECULATIVE)
        if step == ADOPTED and step not in self.costs:
            return 0
        if step not in self.costs:
            raise FobenchError(f"The cost table has no step {step!r}; it has {', '.join(sorted(self.costs))}.")
        cost = self.costs[step]
        return cost.fixed_ns + cost.per_media_s_ns * media_ns // NS_PER_S

    @property
    def digest(self) -> str:
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        costs = {k: {"fixed_ns": c.fixed_ns, "per_media_s_ns": c.per_media_s_ns} for k, c in self.costs.items()}
        return {"version": VERSION, "costs": dict(sorted(costs.items()))}

    @classmethod
    def load(cls, path: Path) -> CostTable:
        """The cost table in a JSON file. Raises `FobenchError` for another version, an unknown key, or a time out of range."""
        try:
            data = outside_files.record(CostFile, outside_files.read_json(path, MAX_BYTES))
            if data.version != VERSION:
                raise ValueError(f"it has version {data.version}, not {VERSION}")
            for name, cost in data.costs.items():
                if odd := next((ns for ns in (cost.fixed_ns, cost.per_media_s_ns) if not 0 <= ns <= LONGEST_NS), None):
                    raise ValueError(f"costs.{name} has {odd} ns; a time is from 0 to {LONGEST_NS:,} ns")
        except (OSError, ValueError) as error:
            message = f"Cost table {path} cannot be read: {error}. Every measured run writes costs.json to its folder."
            raise FobenchError(message) from error
        return cls(data.costs)

    @classmethod
    def fit(cls, traces: Iterable[Trace]) -> CostTable:
        """The table fitted to measured costs: the median of each step, or a rate per second for steps that generate audio."""
        grouped: dict[str, list[tuple[int, int]]] = {}
        for trace in traces:
            for event in trace.events:
                grouped.setdefault(step_name(event), []).append((event.cost_ns, media_ns(event)))
            if steps := trace.compute.get("idle_steps", 0):
                grouped.setdefault(IDLE, []).append((trace.compute["idle_ns"] // steps, 0))
        return cls({name: _fit(measured) for name, measured in grouped.items()})


def costs_name(table: CostTable | None) -> str:
    """The name of a run's costs in run.json and traces: `measured`, or `declared:` and the table's digest."""
    return "measured" if table is None else f"declared:{table.digest}"


def _fit(measured: list[tuple[int, int]]) -> Cost:
    media = sum(m for _, m in measured)
    if media:
        return Cost(per_media_s_ns=sum(c for c, _ in measured) * NS_PER_S // media)
    return Cost(fixed_ns=median_low([c for c, _ in measured]))


def media_ns(event: Event | None) -> int:
    """The duration in ns of the audio that a step generated; 0 for other steps. Takes live and recorded events.

    A BUSY event gives its `duration_ns` if it generated audio that is not emitted yet.
    """
    if event is None or event.kind not in (EventKind.AUDIO, EventKind.BUSY):
        return 0
    return int(event.data["audio"].duration_ns if "audio" in event.data else event.data.get("duration_ns", 0))
