"""The campaign: inputs in forked processes with limits of memory and time, so that a hang or a crash is a finding too."""

from __future__ import annotations

import json
import math
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.fuzz.case import Case, Surface

MEMORY_BYTES = 2 << 30  # that inputs may take beside what is loaded
WAIT = 6  # times its limit of CPU time that an input may take, on a machine that does other work
PER_PROCESS = 400  # inputs after which a process is replaced
LONGEST_SHOWN = 1500  # characters of a finding

Turn = tuple[Surface, int]  # a surface, and the number of its input


@dataclass(frozen=True, slots=True)
class Finding:
    """An input whose outcome is wrong."""

    surface: str
    index: int
    about: str
    fault: str


@dataclass(slots=True)
class Campaign:
    """Inputs of all surfaces in turn, each determined by the seed, its surface and its number."""

    surfaces: Sequence[Surface]
    seed: int
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def run(self, seconds: float, most: int | None = None) -> None:
        """Runs until the time is over, or `most` inputs are done."""
        end = time.monotonic() + seconds
        turns = self._turns()
        pending: list[Turn] = []
        while time.monotonic() < end and (most is None or self.counts.total() < most):
            pending = pending or [
                next(turns)
                for _ in range(PER_PROCESS if most is None else min(PER_PROCESS, most - self.counts.total()))
            ]
            pending = self._batch(pending, end)

    def case(self, surface: Surface, index: int, folder: Path) -> Case:
        return surface.make(Random(f"{self.seed}/{surface.name}/{index}"), folder)

    def _turns(self) -> Iterator[Turn]:
        round_of_surfaces = [surface for surface in self.surfaces for _ in range(surface.weight)]
        Random(self.seed).shuffle(round_of_surfaces)
        numbers: Counter[str] = Counter()
        while True:
            for surface in round_of_surfaces:
                yield surface, numbers[surface.name]
                numbers[surface.name] += 1

    def _batch(self, turns: Sequence[Turn], end: float) -> list[Turn]:
        """Runs inputs in one process; returns those that it did not come to."""
        reading, writing = os.pipe()
        sys.stdout.flush()
        process = os.fork()
        if not process:
            os.close(reading)
            _serve(self, turns, writing)
        os.close(writing)
        done, failed, unread = 0, "", b""
        while done < len(turns) and not failed and time.monotonic() < end:
            surface, index = turns[done]
            while b"\n" not in unread and not failed:
                if not select.select([reading], [], [], WAIT * surface.limit_s)[0]:
                    failed = f"hang: no result after {WAIT * surface.limit_s:g} s"
                elif part := os.read(reading, 1 << 16):
                    unread += part
                else:
                    failed = "crash, or out of CPU time: the process ended"
            if not failed:
                line, _, unread = unread.partition(b"\n")
                self._count(surface, index, *json.loads(line))
                done += 1
        os.close(reading)
        if done < len(turns) or failed:
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        if failed:
            surface, index = turns[done]
            self._count(surface, index, "", f"{failed} (status {status})")
            done += 1
        return list(turns[done:])

    def _count(self, surface: Surface, index: int, about: str, fault: str, seconds: float = 0.0) -> None:
        self.counts[surface.name] += 1
        self.seconds[surface.name] += seconds
        if fault:
            self.findings.append(Finding(surface.name, index, about, fault))


def _serve(campaign: Campaign, turns: Sequence[Turn], results: int) -> None:
    """The process of some inputs: writes [about, fault, seconds] of each, and never returns."""
    base = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        limit_memory()
        silence()
        for surface, index in turns:
            folder = base / f"{surface.name}-{index}"
            folder.mkdir()
            limit_cpu(surface.limit_s)
            began = time.monotonic()
            case = campaign.case(surface, index, folder)
            result = [case.about[:200], case.fault()[-6000:], time.monotonic() - began]
            os.write(results, json.dumps(result).encode() + b"\n")
            shutil.rmtree(folder, ignore_errors=True)
    except BaseException as error:  # a fault of the campaign itself
        os.write(results, json.dumps(["", f"the campaign: {error!r}", 0.0]).encode() + b"\n")
    finally:
        shutil.rmtree(base, ignore_errors=True)
        os._exit(0)


def limit_memory() -> None:
    """Limits the memory of this process to `MEMORY_BYTES` beside what it holds; what exceeds it is a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def limit_cpu(seconds: float) -> None:
    """Limits the further CPU time of this process, which then ends by a signal."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def silence() -> None:
    """Standard output and error of this process go nowhere: a case that looks at them catches them itself."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
