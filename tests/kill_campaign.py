"""Kills at random moments by random signals, every one resumed: `python -m tests.kill_campaign --kills 100 --workers 1 2 --seed 0`.

Runs of a cheap scripted system with declared costs are stopped by KILL, TERM, HUP or INT, sometimes with a second process on
their folder, and resumed until they are complete. Then nothing is lost, nothing is doubled, the scores are those of an undisturbed
run to the byte, and neither temporary files nor processes are left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ARGUMENTS = ["--system", "scripted:late", "--suite", "controls", "--judge", "none", "--costs", "declared"]
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
MARK = "KILL_CAMPAIGN"  # environment variable of all processes of a campaign
REFUSED = "is being written by"
LIMIT_S = 120.0  # of one process
LEFT_S = 10.0  # by then, the processes of a killed run have ended
EARLY_S = 1.0  # a signal within this time may come before the first line of the program
SECOND = 0.3  # share of the runs with a second process on the folder


@dataclass
class KillCampaign:
    """Stops runs of `scenarios` scenarios until `kills` were stopped in the middle; `counts`: what happened how often."""

    root: Path
    kills: int
    scenarios: int
    chance: random.Random
    token: str = field(default_factory=lambda: f"{os.getpid()}-{time.time_ns()}")
    counts: Counter[str] = field(default_factory=Counter)

    def run(self, workers: int) -> None:
        """One folder after the other, with this number of workers. Raises AssertionError for the first promise that is broken."""
        calm = self.root / "calm"
        if not calm.exists():
            start = time.monotonic()
            code, said = self._finish(self._begin(calm, 1))
            assert code == 0, said
            self.length_s = time.monotonic() - start
        kills, number = f"kills, workers {workers}", 0
        while self.counts[kills] < self.kills:
            number += 1
            folder = self.root / f"killed-{workers}-{number}"
            while not self._attempt(folder, workers, self.counts[kills] < self.kills):
                pass
            self._check(folder, calm)
            self.counts["runs completed"] += 1

    def _attempt(self, folder: Path, workers: int, kill: bool) -> bool:
        """Begins or resumes a run, and stops it at some moment; whether it was complete before."""
        process = self._begin(folder, workers)
        second = self._second(folder, workers) if self.chance.random() < SECOND else None
        number, waited_s = self.chance.choice(SIGNALS), time.monotonic()
        if kill:
            self._wait(process, folder)
            waited_s = time.monotonic() - waited_s
            with suppress(ProcessLookupError):
                process.send_signal(number)
        code, said = self._finish(process)
        if second is not None:
            self._check_second(second, code)
        if code == 2 and second is not None:  # the second process was the first to take the folder, and was alone in it
            assert REFUSED in said or "holds a run already" in said, said
            self.counts["overtaken by the second process"] += 1
            return False if not _is_complete(folder) else self._attempt(folder, workers, False)
        if code == 0:
            return True
        assert kill, f"{folder}: exit code {code} without a signal: {said}"
        expected = [-number] if number == signal.SIGKILL else [128 + number]
        assert code in expected or (code == -number and waited_s < EARLY_S), (
            f"{number.name} gave exit code {code}: {said}"
        )
        self.counts.update([f"killed by {number.name}", f"kills, workers {workers}"])
        self._check_nobody_left()
        return False

    def _begin(self, folder: Path, workers: int) -> subprocess.Popen[str]:
        if (folder / "run.json").exists():
            return self._start("run", "--resume", folder)
        return self._start(
            "run", *ARGUMENTS, "--suite-args", f"count={self.scenarios}", "--workers", workers, "-o", folder
        )

    def _second(self, folder: Path, workers: int) -> subprocess.Popen[str]:
        time.sleep(self.chance.uniform(0, 1))
        command = self.chance.choice(("run", "score", "report"))
        self.counts["second processes"] += 1
        return self._begin(folder, workers) if command == "run" or not folder.exists() else self._start(command, folder)

    def _start(self, *arguments: object) -> subprocess.Popen[str]:
        environment = {**os.environ, MARK: self.token}
        command = [sys.executable, "-m", "fobench", *map(str, arguments)]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
        return subprocess.Popen(command, env=environment, **pipes)  # type: ignore[call-overload,no-any-return]

    def _finish(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """The exit code and the standard error of a process. Raises AssertionError if it hangs or prints a traceback."""
        try:
            said = process.communicate(timeout=LIMIT_S)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"hung: {process.args!r}") from None
        assert "Traceback" not in said, said
        return process.returncode, said.strip()

    def _wait(self, process: subprocess.Popen[str], folder: Path) -> None:
        """Waits for any moment of a run, or for one close to the writing of a line."""
        if self.chance.random() < 0.5:
            time.sleep(self.chance.uniform(0, 1.1 * self.length_s))
            return
        wanted = _lines(folder) + self.chance.randint(1, self.scenarios // 4)
        while process.poll() is None and _lines(folder) < wanted:
            time.sleep(0.002)
        time.sleep(self.chance.uniform(0, 0.03))

    def _check_second(self, second: subprocess.Popen[str], first: int) -> None:
        """The second process was refused in one sentence, or had the folder to itself."""
        code, said = self._finish(second)
        if code == 2:
            assert len(said.splitlines()) == 1, said
            self.counts["second process refused"] += REFUSED in said
        else:
            assert code == 0, f"the second process ended with {code} after the first with {first}: {said}"

    def _check(self, folder: Path, calm: Path) -> None:
        done = [json.loads(line)["scenario"]["id"] for line in (folder / "traces.jsonl").read_text().splitlines()]
        assert len(done) == len(set(done)), f"{folder}: doubled: {[i for i, n in Counter(done).items() if n > 1]}"
        planned = json.loads((calm / "run.json").read_text())["scenarios"]
        assert set(done) == set(planned), f"{folder}: lost: {set(planned) - set(done)}"
        assert (folder / "scores.json").read_bytes() == (calm / "scores.json").read_bytes(), f"{folder}: other scores"
        left = [path.name for path in folder.rglob(".*")]
        assert not left, f"{folder}: left behind: {left}"
        self._check_nobody_left()

    def _check_nobody_left(self) -> None:
        deadline = time.monotonic() + LEFT_S
        while left := _bearers(f"{MARK}={self.token}"):
            assert time.monotonic() < deadline, f"processes are left: {left}"
            time.sleep(0.02)


def _is_complete(folder: Path) -> bool:
    with suppress(OSError, ValueError):
        return bool(json.loads((folder / "run.json").read_text())["status"] == "complete")
    return False


def _lines(folder: Path) -> int:
    with suppress(OSError):
        return (folder / "traces.jsonl").read_bytes().count(b"\n")
    return 0


def _bearers(variable: str) -> list[int]:
    """The processes with a variable in their environment (Linux only)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if variable.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="kills in all, shared by the numbers of workers")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--scenarios", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as root:
        each = -(-options.kills // len(options.workers))
        campaign = KillCampaign(Path(root), each, options.scenarios, random.Random(options.seed))
        for workers in options.workers:
            campaign.run(workers)
    for what, count in sorted(campaign.counts.items()):
        print(f"{count:6} {what}")
    print(f"0 lost, 0 doubled, equal scores, nothing left, in {time.monotonic() - start:.0f} s (seed {options.seed})")


if __name__ == "__main__":
    main()
