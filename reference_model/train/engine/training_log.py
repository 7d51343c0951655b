"""What a training leaves to read: `log.csv`, lines of step,name,value, and `skipped.txt`, the clips that could not be used."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fobench.errors import FobenchError

LOG, SKIPPED = "log.csv", "skipped.txt"


@dataclass(slots=True)
class TrainingLog:
    """The files of one training; `writes`: whether this process is the one that keeps the log."""

    folder: Path
    writes: bool = True
    _named: set[str] = field(default_factory=set)  # of skipped.txt

    def add(self, row: Mapping[str, float]) -> None:
        """A step's row: "step", and values by name."""
        if not self.writes:
            return
        with _told(self.folder), _appending(self.folder / LOG) as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerows([int(row["step"]), name, f"{value:.6g}"] for name, value in row.items() if name != "step")

    def cut(self, step: int) -> None:
        """Forgets what came after a step, and a line that a full disk cut short."""
        path = self.folder / LOG
        if self.writes and path.is_file():
            rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
            kept = "".join(",".join(row) + "\n" for row in rows if len(row) == 3 and int(row[0]) <= step)
            partial = path.with_name(f".{LOG}.{os.getpid()}")
            with _told(self.folder):
                partial.write_text(kept, encoding="utf-8")
                partial.replace(path)

    def skip(self, faults: Iterable[tuple[str, str]]) -> None:
        """Lists clips as (where, why), each once, however often they were met; every process does."""
        lines = {f"{where}: {why}".replace("\n", " ") for where, why in faults}
        path = self.folder / SKIPPED
        if lines - self._named:
            with _told(self.folder):
                self._named |= set(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else set()
                with _appending(path) as file:
                    file.write("".join(line + "\n" for line in sorted(lines - self._named)))
            self._named |= lines

    @property
    def skipped(self) -> int:
        """Clips listed so far by this process, and before it began."""
        return len(self._named)


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """A full disk as a message; what is written already stays."""
    try:
        yield
    except OSError as error:
        raise FobenchError(unwritable(folder, error)) from error


def unwritable(folder: Path, error: Exception) -> str:
    return f"{folder} cannot be written: {error}. Make room; the same command then goes on from the last checkpoint."


@contextlib.contextmanager
def _appending(path: Path) -> Iterator[Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        yield file


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The log as {name: [(step, value)]}, in the order of steps. FobenchError where there is none, or it is no log."""
    path = folder / LOG
    if not path.is_file():
        raise FobenchError(f"There is no {path}. Give the --out folder of a training.")
    found: dict[str, list[tuple[int, float]]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            step, name, value = line.split(",")
            found.setdefault(name, []).append((int(step), float(value)))
        except ValueError as error:
            raise FobenchError(f"{path}, line {number}: {line!r} is not step,name,value.") from error
    return found
