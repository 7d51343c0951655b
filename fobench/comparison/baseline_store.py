"""Baselines: numbered snapshots of runs, in a folder or on a branch of a git repository.

`0007-cascade-0a1b2c3.json` is number 7, named `cascade`, saved at that commit. A store is identified by its place: a folder's
path, or `git:BRANCH`, a branch that is never checked out. `STORE#7` is one of its baselines, `STORE#cascade` the newest of a name.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from fobench import outside_files
from fobench.atomic_files import LENGTH, write_new
from fobench.comparison.git_branch import BranchFiles
from fobench.comparison.snapshot import Snapshot
from fobench.errors import FobenchError, unknown
from fobench.storage import environment

FILE = re.compile(r"(?P<number>\d{4,})-(?P<name>[a-z0-9._-]+?)(?:-(?P<commit>[0-9a-f]{7}))?\.json")
GIT = "git:"
TRIES = 5  # attempts, if another process takes the same number


class BaselineFiles(Protocol):
    """The files of a store."""

    @property
    def hint(self) -> str:
        """A further way to get the files, as the end of a sentence; empty without one."""

    def alone(self) -> AbstractContextManager[None]:
        """A block around reading and adding, in which no other process adds files.

        Raises `FobenchError` if nothing can be written.
        """

    def names(self) -> list[str]: ...

    def read(self, name: str) -> str: ...

    def add(self, name: str, text: str) -> bool:
        """Writes a new file, atomically; False if there is one of that name."""

    def remove(self, names: Sequence[str]) -> None: ...


class FolderFiles:
    """The files of a folder, which is created with the first file."""

    hint = ""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def alone(self) -> Iterator[None]:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                descriptor = os.open(self.path, os.O_RDONLY)
                stack.callback(os.close, descriptor)
                with suppress(OSError):  # a disk without locks
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
        except OSError as error:
            problem = f"The baseline cannot be written to {self.path}: {error.strerror or error}."
            raise FobenchError(f"{problem} Nothing is changed: fix this, or choose another --store.") from error

    def names(self) -> list[str]:
        return [path.name for path in self.path.iterdir() if path.is_file()] if self.path.is_dir() else []

    def read(self, name: str) -> str:
        return _read(self.path / name)

    def add(self, name: str, text: str) -> bool:
        return write_new(self.path / name, text.encode())

    def remove(self, names: Sequence[str]) -> None:
        for name in names:
            (self.path / name).unlink()


@dataclass(frozen=True, slots=True, order=True)
class Baseline:
    """One baseline of a store: its number, name, commit (7 hex digits or empty) and file name."""

    number: int
    name: str
    commit: str
    file: str


class BaselineStore:
    """The baselines at one place: a folder or `git:BRANCH`."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.files: BaselineFiles = (
            BranchFiles(place.removeprefix(GIT)) if place.startswith(GIT) else FolderFiles(Path(place))
        )

    def ls(self) -> list[Baseline]:
        """The baselines in order of their numbers; other files are ignored."""
        found = ((name, FILE.fullmatch(name)) for name in self.files.names())
        return sorted(Baseline(int(f["number"]), f["name"], f["commit"] or "", name) for name, f in found if f)

    def save(self, snapshot: Snapshot, name: str | None = None) -> Baseline:
        """Saves a snapshot under the next number; `name` defaults to the system's name. Raises `FobenchError` for a bad name."""
        chosen_name = name or _slug(str(snapshot.config.get("system") or snapshot.name))
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", chosen_name):
            raise FobenchError(
                f"A baseline cannot be named {chosen_name!r}: use lower-case letters, digits, dots, dashes and underscores."
            )
        commit = environment.git(Path.cwd()) or dict(snapshot.run.get("git") or {})
        saved = {"commit": commit, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        text = _dumps({**snapshot.to_json(), "saved": saved})
        short = f"-{str(commit['commit'])[:7]}" if commit.get("commit") else ""
        for _ in range(TRIES):
            with self.files.alone():
                number = max((baseline.number for baseline in self.ls()), default=0) + 1
                file = f"{number:04d}-{chosen_name}{short}.json"
                if self.files.add(file, text):
                    return Baseline(number, chosen_name, short[1:], file)
        raise FobenchError(f"Other processes are writing to {self.place}: try again.")

    def require(self) -> list[Baseline]:
        """The baselines, at least one. Raises `FobenchError` if there is none."""
        if known := self.ls():
            return known
        save = f"fobench baseline save RUN --store {self.place}"
        raise FobenchError(f"{self.place} has no baseline. Save one: {save}{self.files.hint}")

    def find(self, key: str = "") -> Baseline:
        """The baseline of a number, the newest of a name, or the newest. Raises `FobenchError` with the choices."""
        known = self.require()
        matching = [b for b in known if key in ("", b.name) or key.lstrip("0") == str(b.number)]
        if not matching:
            raise unknown(
                f"baseline of {self.place}", key, [*(f"{b.number:04d}" for b in known), *{b.name for b in known}]
            )
        return matching[-1]

    def load(self, baseline: Baseline) -> Snapshot:
        """The snapshot of a baseline. Raises `FobenchError` if it cannot be read."""
        return Snapshot.from_json(
            baseline.file.removesuffix(".json"), _loads(self.files.read(baseline.file), baseline.file)
        )

    def prune(self, keep: int) -> list[Baseline]:
        """Removes all but the newest `keep` baselines of each name; returns the removed ones."""
        by_name: dict[str, list[Baseline]] = {}
        for baseline in self.ls():
            by_name.setdefault(baseline.name, []).append(baseline)
        removed = sorted(old for versions in by_name.values() for old in versions[: max(0, len(versions) - keep)])
        if removed:
            self.files.remove([baseline.file for baseline in removed])
        return removed


def load(place: str) -> Snapshot:
    """The snapshot at a place: a run's folder, a baseline's file, or `STORE[#NUMBER | #NAME]`.

    Raises `FobenchError` for anything else.
    """
    path = Path(place)
    if (path / "run.json").is_file():
        return Snapshot.of_run(path)
    if path.is_file():
        return Snapshot.from_json(path.name, _loads(_read(path), place))
    where, _, key = place.partition("#")
    store = BaselineStore(where) if where.startswith(GIT) or Path(where).is_dir() else None
    if store and (where.startswith(GIT) or store.ls()):
        return store.load(store.find(key))
    lacks = " (it has neither run.json nor a baseline)" if store else ""
    raise FobenchError(
        f"{place} is neither a run's folder nor a baseline{lacks}. Baselines: a file, FOLDER[#NUMBER | #NAME] or "
        "git:BRANCH[#...]; fobench baseline save RUN creates them."
    )


def table_rows(snapshots: Iterable[tuple[Baseline, Snapshot]]) -> list[tuple[str, ...]]:
    """Rows of a table: number, name, commit, date, machine, clock and latency profile, scenarios."""
    return [(f"{b.number:04d}", b.name, b.commit, *_run_columns(s.run), f"{len(s.items):,}") for b, s in snapshots]


def _run_columns(run: Mapping[str, Any]) -> tuple[str, str, str]:
    about, config = run.get("machine") or {}, run.get("config") or {}
    cores = f", {about['cores']} cores" if about.get("cores") else ""
    cpu = " ".join(str(about[key]) for key in ("cpu", "cpu_model") if about.get(key))
    date, machine = str(run.get("started") or "")[:10], f"{about.get('gpu') or cpu}{cores}"
    return date, machine, f"{config.get('clock') or ''}, {run.get('costs') or ''}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-.")[:LENGTH] or "run"


def _dumps(data: Mapping[str, Any]) -> str:
    """JSON text with a line per item and per array of a column, which keeps diffs small."""
    parts = (f"{json.dumps(key)}: {_lines(value)}" for key, value in data.items())
    return "{" + ",\n".join(parts) + "}\n"


def _lines(value: Any) -> str:
    if isinstance(value, list):
        return "[\n" + ",\n".join(_compact(item) for item in value) + "\n]"
    if isinstance(value, Mapping):
        return "{\n" + ",\n".join(f"{json.dumps(key)}: {_compact(item)}" for key, item in value.items()) + "\n}"
    return _compact(value)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def _read(path: Path) -> str:
    """The text of a file. Raises `FobenchError` if it cannot be read."""
    try:
        return outside_files.read_text(path)
    except (OSError, ValueError) as error:
        raise FobenchError(f"The baseline {path} cannot be read: {getattr(error, 'strerror', error)}.") from error


def _loads(text: str, name: str) -> Any:
    try:
        return outside_files.parse_json(text)
    except ValueError as error:
        raise FobenchError(f"{name} is not a baseline: {error}. fobench baseline save writes one.") from error
