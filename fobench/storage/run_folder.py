"""The run folder: one run on disk, consistent after a kill at any moment.

run.json (configuration and environment), traces.jsonl (one flushed line per scenario), audio/ID.flac, waveforms.jsonl (the peaks of
the recordings), run.log, and later scores.json, scores.parquet, report.html, summary.md, junit.xml, costs.json, model_answers.jsonl
(an LLM judge's). A scenario is finished when its line is complete; its audio is written before. While a process writes, .lock names it. A finished run may hold traces.jsonl.gz instead: a tenth
of the size, and nothing can be added.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import os
import shutil
import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fobench import atomic_files, audio, outside_files
from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import EventKind, Samples
from fobench.atomic_files import file_name
from fobench.errors import FobenchError
from fobench.storage import run_lock, trace_lines, waveforms
from fobench.storage.run_record import record_error

TRACES = ("traces.jsonl", "traces.jsonl.gz")  # as written by a run; compressed afterwards
LINE_BYTES = 1 << 26  # maximum of one trace, so that a damaged file cannot exhaust the memory
SURROGATES = "backslashreplace"  # a lone surrogate in a text is written as \\udc00, which JSON reads back


class RunFolder:
    """The folder of one run. Writing is thread-safe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    @property
    def traces_path(self) -> Path:
        """The path of the traces, which need not exist. If both forms exist, the uncompressed one is used."""
        plain, packed = (self.path / name for name in TRACES)
        return packed if packed.exists() and not plain.exists() else plain

    @property
    def compressed(self) -> bool:
        """Whether the traces are compressed; they can be read, but the run cannot be resumed."""
        return self.traces_path.name == TRACES[1]

    def create(self, run: Mapping[str, Any]) -> None:
        """Creates the folder and run.json. Raises `FobenchError` if it has a run already."""
        if (self.path / "run.json").exists():
            raise FobenchError(
                f"{self.path} holds a run already: --resume {self.path} completes it, another --output keeps it."
            )
        if self.traces_path.exists():
            raise FobenchError(f"{self.path} holds the traces of a run, but no run.json: choose another --output.")
        try:
            (self.path / "audio").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FobenchError(f"Cannot create {self.path}: {error}. Choose another --output.") from error
        self.write_run(run)

    def discard(self) -> None:
        """Removes the files of a run without a finished scenario; the folder too, unless it holds files of the user."""
        atomic_files.remove_temporary(self.path)
        for name in ("run.json", "run.log", waveforms.NAME):
            (self.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty
            (self.path / "audio").rmdir()
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def read_run(self) -> dict[str, Any]:
        """The content of run.json. Raises `FobenchError` if it is missing or invalid."""
        try:
            run = outside_files.read_json(self.path / "run.json")
        except (OSError, ValueError) as error:
            raise FobenchError(f"{self.path} is not a run folder: run.json cannot be read ({error}).") from error
        if wrong := record_error(run):
            raise FobenchError(f"{self.path / 'run.json'} is not what a run writes: {wrong}.")
        return dict(run)

    def write_run(self, run: Mapping[str, Any]) -> None:
        self.write_text("run.json", json.dumps(run, indent=1, ensure_ascii=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Writes a file of the folder atomically."""
        with self._disk_errors():
            atomic_files.write_text(self.path / name, text, errors=SURROGATES)

    def add(self, trace: Trace, stereo: Samples, rate_hz: int) -> Trace:
        """Appends a finished scenario: first its audio, then its line. Returns the trace with the audio's name."""
        name = f"audio/{file_name(trace.id)}.flac"
        run_lock.check(self.path)
        with self._disk_errors():
            (self.path / "audio").mkdir(exist_ok=True)
            audio.save(self.path / name, stereo, rate_hz)
            waveforms.append(self.path, name, stereo)
            trace = replace(trace, audio=name, scenario=_portable(trace.scenario))
            line = json.dumps(trace.to_json(), ensure_ascii=False, separators=(",", ":")) + "\n"
            with self._lock, atomic_files.open_append(self.path / TRACES[0]) as file:
                _append(file.fileno(), line.encode(errors=SURROGATES))
        return trace

    def repair(self) -> list[str]:
        """Heals the traces: see `trace_lines.heal`. Returns a sentence for each change.

        Raises `FobenchError` naming the lines of a scenario that is there twice with different content. Temporary files, which
        killed runs leave, are removed.
        """
        atomic_files.remove_temporary(self.path)
        if self.compressed or not self.traces_path.exists():
            return []
        with self._disk_errors():
            return trace_lines.heal(self.traces_path, LINE_BYTES)

    def compress(self) -> None:
        """Replaces traces.jsonl of a finished run by traces.jsonl.gz; equal traces give equal bytes (no name, no time).

        A kill at any moment leaves one of the two files complete. Raises `FobenchError` for a run that is not complete or has
        no traces; does nothing if they are compressed already.
        """
        if self.compressed:
            return
        status = self.read_run().get("status")
        if status != "complete":
            raise FobenchError(
                f"The traces of {self.path} cannot be compressed: its run is {status or 'of no known status'}, not complete."
                f" Complete it first: fobench run --resume {self.path}"
            )
        plain, packed = (self.path / name for name in TRACES)
        if not plain.exists():
            raise FobenchError(f"{self.path} has no traces to compress.")
        if packed.exists() and sum(1 for _ in self._lines()) < len(self.read_run().get("scenarios", ())):
            raise FobenchError(
                f"{plain} lacks scenarios and {packed.name} exists beside it: remove the wrong one of the two."
            )
        with self._disk_errors():
            with (
                atomic_files.atomic_path(packed) as temporary,
                plain.open("rb") as source,
                temporary.open("wb") as target,
                gzip.GzipFile("", "wb", 9, target, mtime=0) as file,
            ):
                shutil.copyfileobj(source, file)
            plain.unlink()

    def check_resumable(self) -> None:
        """Raises `FobenchError` if the traces are compressed: nothing can be appended to them."""
        if self.compressed:
            raise FobenchError(
                f"{self.path} cannot be resumed: {TRACES[1]} is of a finished run. To resume it anyway, unpack it first:"
                f" gunzip {self.traces_path}"
            )

    def traces(self) -> Iterator[Trace]:
        """The finished scenarios, in the order in which they finished. Raises `FobenchError` naming a broken line."""
        return (trace for _, trace in self.records())

    def records(self, *kinds: EventKind) -> Iterator[tuple[dict[str, Any], Trace]]:
        """The finished scenarios as plain data and as traces; with `kinds`, only with events of these kinds.

        One line at a time is in memory. Raises `FobenchError` naming a broken line, or a compressed file that is damaged.
        """
        for number, line in enumerate(self._lines(), 1):
            try:
                data = outside_files.parse_json(line)
                if kinds and isinstance(data, dict) and isinstance(data.get("events"), list):
                    data["events"] = [event for event in data["events"] if _kind(event) in kinds]
                trace = Trace.from_json(data)
            except (ValueError, FobenchError) as error:
                problem = f"{self.traces_path}, line {number}: {str(error).rstrip('.')}"
                unpack = f"Unpack it (gunzip {self.traces_path}), then remove" if self.compressed else "Remove"
                fix = f"{unpack} that line and run its scenario again: fobench run --resume {self.path}"
                raise FobenchError(f"{problem}. {fix}") from error
            yield data, trace

    def _lines(self) -> Iterator[bytes]:
        """The complete lines of the traces. An incomplete last line (being written, or left by a kill) is skipped."""
        path = self.traces_path
        if not path.exists():
            return
        try:
            if self.compressed and not path.stat().st_size:
                raise EOFError("it is empty")
            with gzip.open(path, "rb") if self.compressed else path.open("rb") as file:
                for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES), b""), 1):
                    if len(line) == LINE_BYTES:
                        raise FobenchError(f"{path}, line {number} is longer than {LINE_BYTES:,} bytes: not a trace.")
                    if not line.endswith(b"\n"):
                        return
                    yield line
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise FobenchError(
                f"{path} is damaged ({error}): take it from a backup, or run its scenarios again."
            ) from error

    def log(self, line: str) -> None:
        with (
            self._lock,
            contextlib.suppress(OSError),
            atomic_files.open_append(self.path / "run.log") as file,
        ):
            file.write(f"{line}\n".encode(errors=SURROGATES))

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
            fix = f"No finished scenario is lost: fix this, then fobench run --resume {self.path}"
            raise FobenchError(f"Cannot write to {self.path}: {why}. {fix}") from error


def _kind(event: Any) -> Any:
    """The kind of an event in plain data, which may be anything."""
    return event.get("kind") if isinstance(event, dict) else None


def _append(descriptor: int, line: bytes) -> None:
    """Appends a line, synced to the disk. After an error the file is as it was: no half line is left for the next to join."""
    size, rest = os.fstat(descriptor).st_size, memoryview(line)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def _portable(scenario: Scenario) -> Scenario:
    """The scenario with file names instead of paths of this machine; a turn's hash identifies its audio."""
    return replace(scenario, turns=tuple(replace(turn, audio=Path(turn.audio).name) for turn in scenario.turns))
