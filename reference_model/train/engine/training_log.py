"""Log files of a training run: `log.csv` with lines of step,name,value, and `skipped.txt` with the clips that were not
usable.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fobench.atomic_files import write_text
from fobench.errors import FobenchError

LOG, SKIPPED = "log.csv", "skipped.txt"


@dataclass(slots=True)
class TrainingLog:
    """The log files of one training run. `writes`: whether this process writes `log.csv`."""

    folder: Path
    writes: bool = True
    _listed: set[str] = field(default_factory=set)  # lines of skipped.txt

    def add(self, row: Mapping[str, float]) -> None:
        """Appends the row of a step: "step", and values by name."""
        if not self.writes:
            return
        with _disk_errors(self.folder), _appending(self.folder / LOG) as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerows([int(row["step"]), name, f"{value:.6g}"] for name, value in row.items() if name != "step")

    def truncate(self, step: int) -> None:
        """Removes the lines after `step`, and a line that a full disk left incomplete."""
        path = self.folder / LOG
        if self.writes and path.is_file():
            rows = [line.split(",") for line in path.read_text(encoding="utf-8").split("\n")]
            kept = "".join(",".join(row) + "\n" for row in rows if len(row) == 3 and int(row[0]) <= step)
            with _disk_errors(self.folder):
                write_text(path, kept)

    def list_skipped(self, faults: Iterable[tuple[str, str]]) -> None:
        """Lists skipped clips, (shard or clip, reason), once each in `skipped.txt`; every process lists its own."""
        lines = {f"{where}: {reason}".replace("\n", " ") for where, reason in faults}
        path = self.folder / SKIPPED
        if lines - self._listed:
            with _disk_errors(self.folder):
                earlier = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
                self._listed |= set(filter(None, earlier))
                with _appending(path) as file:
                    file.write("".join(line + "\n" for line in sorted(lines - self._listed)))
            self._listed |= lines

    @property
    def skipped(self) -> int:
        """The number of clips listed by this process and by earlier runs."""
        return len(self._listed)


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Raises FobenchError for an OSError, e.g. of a full disk; complete lines stay."""
    try:
        yield
    except OSError as error:
        raise FobenchError(unwritable(folder, error)) from error


def unwritable(folder: Path, error: BaseException) -> str:
    """Returns the message for a folder that cannot be written."""
    return (
        f"{folder} cannot be written: {error}. Free disk space; the same command then resumes from the last checkpoint."
    )


@contextlib.contextmanager
def _appending(path: Path) -> Iterator[Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        yield file


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Returns the log as {name: [(step, value)]}, in the order of steps.

    Raises FobenchError if it is missing or malformed.
    """
    path = folder / LOG
    if not path.is_file():
        raise FobenchError(f"There is no {path}. Give the --out folder of a training run.")
    values: dict[str, list[tuple[int, float]]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            step, name, value = line.split(",")
            values.setdefault(name, []).append((int(step), float(value)))
        except ValueError as error:
            raise FobenchError(f"{path}, line {number}: {line!r} is not step,name,value.") from error
    return values
