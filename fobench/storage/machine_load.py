"""How busy the machine was while a run measured latencies: other programs, a hypervisor that takes processor time, a changed clock.

`start` before the run's processes begin, `finish` when they have nothing left to do; run.json keeps the figures of each stretch of a
run, and `sentences` says what is wrong with them. As in pyperf, nothing is corrected: a reader is told.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fobench import outside_files

CALIBRATIONS = 7  # times of the same calculation
STEPS = 120_000  # of the calculation, about 10 ms
SPREAD = 0.10  # relative difference of two calibrations, from which it is told
OTHER_CORES = 0.2  # cores that other programs may use on average ...
OTHER_SHARE = 0.05  # ... or this share of all cores, if that is more
STOLEN_SHARE = 0.02  # of the processor time, that a hypervisor may withhold
SHORTEST_S = 1.0  # processor times are counted in ticks of 10 ms: shorter stretches tell nothing
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


@dataclass(frozen=True, slots=True)
class MachineLoad:
    """A stretch of a run of `seconds` on `cores` cores; None: the operating system does not tell.

    Processor times in s: `own_s` of the run's processes, `other_s` of all others on the same cores, `stolen_s` withheld by a
    hypervisor. Of before and after: `calibration_ms`, the best and the median time of a fixed calculation; `load_average` of a
    minute; the clock in `mhz`.
    """

    seconds: float
    cores: int
    own_s: float | None = None
    other_s: float | None = None
    stolen_s: float | None = None
    calibration_ms: list[tuple[float, float]] = field(default_factory=list)
    load_average: list[float | None] = field(default_factory=list)
    mhz: list[float | None] = field(default_factory=list)
    governor: str | None = None


@dataclass(frozen=True, slots=True)
class LoadMeter:
    """The state of the machine at the beginning of a stretch."""

    begun_s: float  # of time.monotonic
    own_s: float | None
    busy_s: float | None
    stolen_s: float | None
    calibration_ms: tuple[float, float]
    load_average: float | None
    mhz: float | None

    def finish(self) -> dict[str, Any]:
        """The `MachineLoad` of the stretch as plain data. The run's processes must still live or have been waited for."""
        end = start(calibrate_last=True)
        own, busy, stolen = (
            None if before is None or after is None else max(0.0, after - before)
            for before, after in (
                (self.own_s, end.own_s), (self.busy_s, end.busy_s), (self.stolen_s, end.stolen_s),
            )
        )  # fmt: skip
        return asdict(
            MachineLoad(
                seconds=round(end.begun_s - self.begun_s, 1),
                cores=len(_cores()),
                own_s=_rounded(own),
                other_s=None if own is None or busy is None else round(max(0.0, busy - own), 2),
                stolen_s=_rounded(stolen),
                calibration_ms=[self.calibration_ms, end.calibration_ms],
                load_average=[self.load_average, end.load_average],
                mhz=[self.mhz, end.mhz],
                governor=_governor(),
            )
        )


def start(calibrate_last: bool = False) -> LoadMeter:
    """Begins a stretch, after a calibration of about 0.1 s; with `calibrate_last`, the times are those before it."""
    calibration = None if calibrate_last else calibrate()
    (busy, stolen), own, now = _machine_times(), _own_time(), time.monotonic()
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return LoadMeter(now, own, busy, stolen, calibration or calibrate(), load, _mhz())


def calibrate() -> tuple[float, float]:
    """The best and the median time, in ms, of a fixed calculation in pure Python."""
    times = []
    for _ in range(CALIBRATIONS):
        begun = time.perf_counter_ns()
        total = 0
        for number in range(STEPS):
            total += number * number
        times.append((time.perf_counter_ns() - begun) / 1e6)
    return round(min(times), 3), round(statistics.median(times), 3)


def sentences(run: Mapping[str, Any]) -> list[str]:
    """What a reader of a run's latencies must know of the machine's load; nothing where the latencies are declared."""
    declared = str(run.get("costs") or "").startswith("declared") and run.get("clock") != "wall"
    stretches = _stretches(run)
    if declared or not stretches:
        return []
    found, effect = [], "latencies may be too high"
    cores = stretches[-1].cores
    others = other_cores(run)
    if others is not None and others > max(OTHER_CORES, OTHER_SHARE * cores):
        found.append(f"Other programs used {others:.1f} of {cores} cores during this run: {effect}.")
    stolen = _per_second(stretches, "stolen_s")
    if stolen is not None and stolen > STOLEN_SHARE * cores:
        found.append(f"The hypervisor withheld {100 * stolen / cores:.0f} % of the processor time: {effect}.")
    (fast, slow), when = _calibrations(stretches)
    if slow > fast * (1 + SPREAD):
        found.append(f"A fixed calculation took {fast:.1f} to {slow:.1f} ms {when}: the processor's speed varied.")
    return found


def other_cores(run: Mapping[str, Any]) -> float | None:
    """How many cores other programs used on average; None if unknown or too short a time."""
    return _per_second(_stretches(run), "other_s")


def _stretches(run: Mapping[str, Any]) -> list[MachineLoad]:
    """Those that run.json holds; none where it holds something else."""
    try:
        return [outside_files.record(MachineLoad, one, closed=False) for one in run.get("machine_load") or ()]
    except (TypeError, ValueError):
        return []


def _per_second(stretches: list[MachineLoad], name: str) -> float | None:
    """Processor time over time, of the stretches that are long enough and tell it."""
    known = [one for one in stretches if getattr(one, name) is not None and one.seconds >= SHORTEST_S]
    return sum(getattr(one, name) for one in known) / sum(one.seconds for one in known) if known else None


def _calibrations(stretches: list[MachineLoad]) -> tuple[tuple[float, float], str]:
    """The two unlike times of the calculation: best and median of one calibration, or the medians before and after."""
    pairs = [((best, median), "at one moment") for one in stretches for best, median in one.calibration_ms]
    medians = [median for one in stretches for _, median in one.calibration_ms]
    if medians:
        pairs.append(((min(medians), max(medians)), "before and after the run"))
    return max(pairs, key=lambda pair: pair[0][1] / pair[0][0], default=((1.0, 1.0), ""))


def _cores() -> list[int]:
    """The numbers of the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _machine_times() -> tuple[float | None, float | None]:
    """(busy, stolen) processor time of our cores in s since the machine was started."""
    import psutil

    with suppress(OSError, RuntimeError, psutil.Error):
        cores = psutil.cpu_times(percpu=True)
        ours = [cores[number] for number in _cores() if number < len(cores)]
        busy = sum(getattr(one, name, 0.0) for one in ours for name in ("user", "nice", "system", "irq", "softirq"))
        return busy, sum(getattr(one, "steal", 0.0) for one in ours)
    return None, None


def _own_time() -> float | None:
    """Processor time in s of this process, its descendants, and what they have waited for."""
    import psutil

    total = 0.0
    with suppress(OSError, psutil.Error):
        this = psutil.Process()
        for process in (this, *this.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += sum(process.cpu_times()[:4])  # user, system, and both of ended children
        return total
    return None


def _mhz() -> float | None:
    """The mean clock of the cores."""
    import psutil

    with suppress(OSError, RuntimeError, NotImplementedError, AttributeError):
        return float(round(psutil.cpu_freq().current))
    return None


def _governor() -> str | None:
    """What Linux sets the clock by, e.g. "performance"."""
    with suppress(OSError, ValueError):
        return GOVERNOR.read_text().strip() or None
    return None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
