"""What a busy neighbor costs: `python -m tests.bench.busy_neighbor` plays a question to a system in a process of its own, as a
notebook or a server would open one, once by itself and once beside processes that never rest.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fobench import audio
from fobench.api.types import AudioChunk

SUITE, QUESTION = "spoken-qa", 200
PAUSE_S = 3.0  # of silence after the question: the turn's end and the whole reply fall into it
OF_THREADS = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_")  # variables that the tests set for themselves


@dataclass(frozen=True, slots=True)
class Cost:
    """What a played question took, in s: by the clock, and on all cores together."""

    wall_s: float
    cpu_s: float
    events: int


class Listener:
    """A process that has opened a system and plays it the question each time it is asked to."""

    def __init__(self, system: str, options: Mapping[str, Any] | None = None) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(OF_THREADS)}
        command = (
            sys.executable,
            "-m",
            "tests.bench.busy_neighbor",
            "--serve",
            system,
            json.dumps(dict(options or {})),
        )
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def play(self) -> Cost:
        """Plays the question once, in virtual time: as fast as the system computes."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        if not (line := self._process.stdout.readline()):
            raise RuntimeError("the system's process has ended; what it printed tells why")
        return Cost(**json.loads(line))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """`count` processes that compute without rest."""
    running = [subprocess.Popen((sys.executable, "-c", "while True: pass")) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def serve(system: str, options: Mapping[str, Any]) -> None:
    """The other side of a `Listener`."""
    from fobench.api import registry

    opened = registry.create("systems", system, dict(options))
    scenario = list(registry.create("suites", SUITE).scenarios(seed=0))[QUESTION]
    question = audio.resample(audio.load(scenario.question.audio), opened.input_rate_hz).samples
    wave = np.concatenate([question, np.zeros(round(PAUSE_S * opened.input_rate_hz), np.float32)])
    _play(opened, wave)  # the first call of a system is slower than all others
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        events = _play(opened, wave)
        cost = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "events": events}
        print(json.dumps(cost), flush=True)


def _play(system: Any, wave: Any) -> int:
    """The number of the session's events."""
    events = 0
    with system.open(0) as session:
        for start in range(0, len(wave) - system.chunk + 1, system.chunk):
            events += len(
                list(session.push(AudioChunk(wave[start : start + system.chunk], system.input_rate_hz, start)))
            )
    return events


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", nargs=2, metavar=("SYSTEM", "OPTIONS"), help=argparse.SUPPRESS)
    parser.add_argument("--systems", nargs="*", default=["freeze-omni", "cascade"])
    parser.add_argument("--neighbors", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve[0], json.loads(arguments.serve[1]))
        return
    for name in arguments.systems:
        with contextlib.closing(Listener(name)) as listener:
            quiet = min((listener.play() for _ in range(arguments.rounds)), key=lambda cost: cost.wall_s)
            with busy_processes(arguments.neighbors):
                busy = min((listener.play() for _ in range(arguments.rounds)), key=lambda cost: cost.wall_s)
        print(
            f"{name}: {quiet.wall_s:.2f} s ({quiet.cpu_s:.2f} s of CPU); beside {arguments.neighbors} busy "
            f"{busy.wall_s:.2f} s ({busy.cpu_s:.2f} s of CPU)"
        )


if __name__ == "__main__":
    main()
