"""Endurance: `python -m tests.end_to_end.served_sessions --minutes 10` holds 4 conversations of that length with `fobench serve`.

The server has a scripted system of known timing; the conversations are held by `realtime:` as in `fobench run --workers 4`. Prints,
for every minute, by how much audio was handed over late, the delay of the replies, and the memory of the server's process. Exit
code 1 if the last minute is more than 50 ms later than the first, if a reply is missing, or if the server grows by more than
20 MB after its first minute (in a test of less than two minutes: after half of the time).
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import soundfile

from fobench.api import registry
from fobench.api.scenario import Anchor, Scenario, Turn
from fobench.api.trace import Trace
from fobench.api.types import NS_PER_MS, NS_PER_S
from fobench.execution import conversations
from fobench.execution.remote_driver import RemoteDriver
from fobench.execution.system_driver import LocalDriver
from fobench.process_host import Lane, ProcessHost
from fobench.simulation import replay
from fobench.simulation.clock import WallClock

SESSIONS = 4
EVERY_S, TALKS_S = 5, 0.4  # how often the user asks in a test of up to 5 minutes, and for how long
MOST_TURNS = 60  # of a conversation
DELAY_MS, REPLY_MS = 600, 1500  # of the scripted replies
MOST_DRIFT_MS, MOST_GROWTH_MB = 50.0, 20.0
SETTLED_S = 60.0  # after which the server may not grow
SAMPLE_S = 1.0  # between two looks at the server's memory


class Timed(RemoteDriver):
    """A driver that notes by how much each chunk is handed over later than the first."""

    def open(self, seed):
        self.lags_ms: list[tuple[float, float]] = []  # (s of audio, ms)
        super().open(seed)

    def push(self, chunk, heard, more=False):
        audio_s, now_s = chunk.start / chunk.rate_hz, time.perf_counter()
        if not self.lags_ms:
            self.start_s = now_s
        self.lags_ms.append((audio_s, 1e3 * (now_s - self.start_s - audio_s)))
        return super().push(chunk, heard, more)


@dataclass
class Endurance:
    """What was found. `lags_ms`, `delays_ms`: (s since the conversation's start, ms); `memory_mb`: (s, MB) of the server."""

    minutes: float
    lags_ms: list[tuple[float, float]] = field(default_factory=list)
    delays_ms: list[tuple[float, float]] = field(default_factory=list)
    memory_mb: list[tuple[float, float]] = field(default_factory=list)
    asked: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, trace: Trace, lags_ms: list[tuple[float, float]]) -> None:
        """Adds a conversation: the delay of a reply is from the user's end to its first sample, less the planted one."""
        self.lags_ms += lags_ms
        self.asked += len(trace.scenario.turns)
        if trace.failure:
            self.failures.append(f"{trace.failure.kind}: {trace.failure.message}")
        ends = [utterance.end_ns for utterance in trace.user]
        starts = [reply.audible_start_ns for reply in trace.replies if reply.audible_start_ns is not None]
        for begin, end in pairwise([*ends, trace.duration_ns]):
            answer = next((start for start in starts if begin <= start < end), None)
            if answer is not None:
                self.delays_ms.append((begin / NS_PER_S, (answer - begin) / NS_PER_MS - DELAY_MS))

    def rows(self) -> Iterator[str]:
        for minute in range(max(1, round(self.minutes))):
            lags, delays, memory = (
                [value for at, value in values if minute * 60 <= at < (minute + 1) * 60]
                for values in (self.lags_ms, self.delays_ms, self.memory_mb)
            )
            if lags and delays and memory:
                yield (
                    f"minute {minute + 1:3}   late: median {median(lags):6.2f}, p99 {np.percentile(lags, 99):6.2f} ms   "
                    f"replies: {len(delays):3}, {median(delays):+6.1f} ms   server: {memory[-1]:7.1f} MB"
                )

    @property
    def edge_s(self) -> float:
        """The length of what is compared at both ends: a minute, or half of a shorter test."""
        return min(60.0, 30.0 * self.minutes)

    def drift_ms(self, values: list[tuple[float, float]]) -> float:
        """The median at the end, less that at the start."""
        last_s = max(at for at, _ in values)
        first = median(value for at, value in values if at <= self.edge_s)
        return median(value for at, value in values if at >= last_s - self.edge_s) - first

    def growth_mb(self) -> float:
        """The server's largest memory after it has settled, less what it had then."""
        settled = [value for at, value in self.memory_mb if at >= min(SETTLED_S, 30.0 * self.minutes)]
        return max(settled) - settled[0]

    def problems(self) -> list[str]:
        found = list(self.failures)
        for name, values in (("audio is handed over", self.lags_ms), ("replies come", self.delays_ms)):
            if not values or (drift := self.drift_ms(values)) > MOST_DRIFT_MS:
                found.append(f"{name} {drift:.1f} ms later at the end" if values else f"no values: {name}")
        if len(self.delays_ms) < self.asked:
            found.append(f"{self.asked - len(self.delays_ms)} of {self.asked} questions were not answered")
        if (growth := self.growth_mb()) > MOST_GROWTH_MB:
            found.append(f"the server grew by {growth:.1f} MB")
        return found


@contextmanager
def server(minutes: float) -> Iterator[tuple[str, int]]:
    """(address, process) of `fobench serve` with a scripted system."""
    options = ["--system-args", f"delay_ms={DELAY_MS}", "--system-args", f"reply_ms={REPLY_MS}"]
    limits = ["--port", "0", "--sessions", str(SESSIONS), "--minutes", str(minutes + 5)]
    command = [sys.executable, "-m", "fobench", "serve", "--system", "scripted:late", *options, *limits]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"ws://[0-9.]+:\d+", line):
                threading.Thread(target=process.stderr.read, daemon=True).start()
                yield found[0], process.pid
                return
        raise RuntimeError("fobench serve has ended before it was ready")
    finally:
        process.terminate()
        process.wait(20)


def scenario(folder: Path, number: int, minutes: float) -> Scenario:
    """A user who asks at fixed times, whatever is answered."""
    path = folder / "tone.wav"
    soundfile.write(path, 0.3 * np.cos(np.arange(int(16_000 * TALKS_S)) * 0.1), 16_000, subtype="FLOAT")
    count = max(1, min(MOST_TURNS, int(60 * minutes / EVERY_S)))
    times = [NS_PER_S // 2 + int(turn * 60 * minutes / count * NS_PER_S) for turn in range(count)]
    end_ns = int(TALKS_S * NS_PER_S)
    turns = tuple(Turn(str(path), "", anchor=Anchor("start", at), start_ns=0, end_ns=end_ns) for at in times)
    return Scenario(f"session-{number}", "endurance", number, turns)


def memory_mb(process: int) -> float:
    """The resident memory of a process (Linux)."""
    (line,) = [x for x in Path(f"/proc/{process}/status").read_text().splitlines() if x.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def endure(minutes: float) -> Endurance:
    """Holds the conversations, and returns what was found."""
    found, lock, waiting = Endurance(minutes), threading.Lock(), queue.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder, server(minutes) as (url, process):
        for number in range(SESSIONS):
            waiting.put(scenario(Path(folder), number, minutes))
        host = ProcessHost(LocalDriver, (registry.spec("systems", f"realtime:{url}"),), prints=True)
        host.start()

        def hold(item: Scenario) -> None:
            driver = Timed(Lane(host))
            trace = replay.replay(item, driver, WallClock(), clock_name="wall").trace
            with lock:
                found.add(trace, driver.lags_ms)

        ended, start = threading.Event(), time.monotonic()

        def watch() -> None:
            while not ended.wait(SAMPLE_S):
                found.memory_mb.append((time.monotonic() - start, memory_mb(process)))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            conversations.hold(waiting, [hold] * SESSIONS, threading.Event())
        finally:
            ended.set()
            watcher.join()
            host.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("FOBENCH_ENDURANCE_MINUTES", "10")))
    found = endure(parser.parse_args().minutes)
    print("\n".join(found.rows()))
    lags, delays = found.drift_ms(found.lags_ms), found.drift_ms(found.delays_ms)
    print(
        f"{SESSIONS} sessions of {found.minutes:g} min: audio handed over {lags:+.2f} ms later at the end than at the start, replies "
        f"{delays:+.2f} ms (limit {MOST_DRIFT_MS:g}); {len(found.delays_ms)} of {found.asked} questions answered; the server grew by "
        f"{found.growth_mb():.1f} MB (limit {MOST_GROWTH_MB:g})"
    )
    for problem in found.problems():
        print(f"PROBLEM: {problem}")
    return int(bool(found.problems()))


if __name__ == "__main__":
    sys.exit(main())
