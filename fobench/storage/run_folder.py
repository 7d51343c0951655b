"""The run folder: one run's record on disk, able to survive a kill at any moment.

run.json (what was asked and what it ran on), traces.jsonl (one flushed line a scenario), audio/ID.flac, run.log, and later
scores.json, scores.parquet, report.html, summary.md, junit.xml, costs.json. A scenario counts as done when its line is whole;
its audio is written before.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fobench import audio
from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import EventKind, Samples
from fobench.errors import FobenchError
from fobench.storage.run_config import misfit

HALVES = "backslashreplace"  # a lone surrogate in a text becomes \\udc00, which JSON reads back
SHAPE: dict[str, type] = {  # of run.json, where it has them
    **dict.fromkeys(("config", "machine", "packages", "git", "components", "harness", "assets"), dict),
    **dict.fromkeys(("scenarios", "notes"), list),
    **dict.fromkeys(("status", "started", "clock", "costs", "scenarios_sha256", "fobench"), str),
}


class RunFolder:
    """A folder that holds one run. Writing is safe from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    @property
    def traces_path(self) -> Path:
        return self.path / "traces.jsonl"

    def create(self, run: Mapping[str, Any]) -> None:
        """Makes the folder. Raises `FobenchError` if a run is in it already."""
        if (self.path / "run.json").exists():
            raise FobenchError(
                f"{self.path} holds a run already: --resume {self.path} completes it, another --output keeps it."
            )
        with self._explained():
            (self.path / "audio").mkdir(parents=True, exist_ok=True)
        self.write_run(run)

    def read_run(self) -> dict[str, Any]:
        """What run.json says. Raises `FobenchError` where it is missing, or not what a run writes."""
        try:
            run: dict[str, Any] = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FobenchError(f"{self.path} is not a run folder: run.json cannot be read ({error}).") from error
        if wrong := _misfit(run):
            raise FobenchError(f"{self.path / 'run.json'} is not what a run writes: {wrong}.")
        return run

    def write_run(self, run: Mapping[str, Any]) -> None:
        self.write_text("run.json", json.dumps(run, indent=1, ensure_ascii=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Writes a file of the folder atomically."""
        partial = self.path / (name + ".part")
        with self._explained():
            partial.write_text(text, encoding="utf-8", errors=HALVES)
            partial.replace(self.path / name)

    def add(self, trace: Trace, stereo: Samples, rate_hz: int) -> Trace:
        """Appends a finished scenario: first its audio, then its line. Returns the trace with the audio's name."""
        name = f"audio/{file_name(trace.id)}.flac"
        with self._explained():
            (self.path / "audio").mkdir(exist_ok=True)
            audio.save(self.path / name, stereo, rate_hz)
            trace = replace(trace, audio=name, scenario=_portable(trace.scenario))
            line = json.dumps(trace.to_json(), ensure_ascii=False, separators=(",", ":")) + "\n"
            with self._lock, self.traces_path.open("ab") as file:
                file.write(line.encode(errors=HALVES))
                file.flush()
                os.fsync(file.fileno())
        return trace

    def repair(self) -> None:
        """Cuts off a last line that a kill left unfinished."""
        if not self.traces_path.exists():
            return
        content = self.traces_path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with self.traces_path.open("r+b") as file:
                file.truncate(whole)

    def traces(self) -> Iterator[Trace]:
        """The finished scenarios, in the order in which they finished. Raises `FobenchError` naming a broken line."""
        return (trace for _, trace in self.records())

    def records(self, *kinds: EventKind) -> Iterator[tuple[dict[str, Any], Trace]]:
        """The finished scenarios as plain data and as traces; with `kinds`, of their events only these.

        Raises `FobenchError` naming a broken line.
        """
        if not self.traces_path.exists():
            return
        with self.traces_path.open("rb") as file:  # a kill may have cut a character in half
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return  # being written, or left by a kill
                try:
                    data = json.loads(line)
                    if kinds and isinstance(data, dict):
                        data["events"] = [event for event in data.get("events", ()) if event.get("kind") in kinds]
                    yield data, Trace.from_json(data)
                except (ValueError, AttributeError, FobenchError) as error:
                    told = f"{self.traces_path}, line {number}: {str(error).rstrip('.')}"
                    way_out = f"Remove that line and run its scenario again: fobench run --resume {self.path}"
                    raise FobenchError(f"{told}. {way_out}") from error

    def log(self, line: str) -> None:
        with (
            self._lock,
            contextlib.suppress(OSError),
            (self.path / "run.log").open("a", encoding="utf-8", errors=HALVES) as file,
        ):
            file.write(line + "\n")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = "the disk is full" if error.errno == errno.ENOSPC else str(error)
            fix = f"Nothing finished is lost: mend it, then fobench run --resume {self.path}"
            raise FobenchError(f"Cannot write to {self.path}: {why}. {fix}") from error


def _misfit(run: Any) -> str | None:
    """What in run.json is of the wrong type, in words."""
    if not isinstance(run, dict):
        return f"it holds a {type(run).__name__}, not an object"
    for key, kind in SHAPE.items():
        if key in run and not isinstance(run[key], kind):
            return f"{key} is {run[key]!r}, not a {kind.__name__}"
    if not all(isinstance(name, str) for name in run.get("scenarios", ())):
        return "scenarios must be a list of ids"
    return misfit(run.get("config", {}))


def file_name(scenario_id: str) -> str:
    """The id where it can be a file's name anywhere, also where case does not count; else what of it can, and a hash."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", scenario_id).lstrip(".")[:80]
    return plain if plain.lower() == scenario_id else f"{plain}-{hashlib.sha256(scenario_id.encode()).hexdigest()[:8]}"


def _portable(scenario: Scenario) -> Scenario:
    """The scenario without the places of this machine: a turn's audio is known by its name and its hash."""
    return replace(scenario, turns=tuple(replace(turn, audio=Path(turn.audio).name) for turn in scenario.turns))
