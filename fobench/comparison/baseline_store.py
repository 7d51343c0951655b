"""Baselines: snapshots of runs kept under numbers, in a folder or on a branch of a git repository.

`0007-cascade-0a1b2c3.json` is number 7, named `cascade`, saved at that commit. A store is told by its place: a folder's path, or
`git:BRANCH`, whose files no checkout ever shows. `STORE#7` is one of its baselines, `STORE#cascade` the newest of a name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from fobench.comparison.git_branch import BranchFiles
from fobench.comparison.snapshot import Snapshot
from fobench.errors import FobenchError, unknown
from fobench.storage import environment

FILE = re.compile(r"(?P<number>\d{4,})-(?P<name>[a-z0-9._-]+?)(?:-(?P<commit>[0-9a-f]{7}))?\.json")
GIT = "git:"
TRIES = 5  # of a number that another process takes at the same time


class BaselineFiles(Protocol):
    """Where a store's files lie."""

    @property
    def hint(self) -> str:
        """How they come there, where it is not by saving them; the end of a sentence."""

    def names(self) -> list[str]: ...

    def read(self, name: str) -> str: ...

    def add(self, name: str, text: str) -> bool:
        """Writes a new file; False if there is one of that name."""

    def remove(self, names: Sequence[str]) -> None: ...


class FolderFiles:
    """Files of a folder, which is made with the first of them."""

    hint = ""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        return [path.name for path in self.path.iterdir() if path.is_file()] if self.path.is_dir() else []

    def read(self, name: str) -> str:
        return _read(self.path / name)

    def add(self, name: str, text: str) -> bool:
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with (self.path / name).open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            return False
        return True

    def remove(self, names: Sequence[str]) -> None:
        for name in names:
            (self.path / name).unlink()


@dataclass(frozen=True, slots=True, order=True)
class Baseline:
    """One entry of a store."""

    number: int
    name: str
    commit: str
    file: str


class BaselineStore:
    """The baselines of one place."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.files: BaselineFiles = (
            BranchFiles(place.removeprefix(GIT)) if place.startswith(GIT) else FolderFiles(Path(place))
        )

    def ls(self) -> list[Baseline]:
        """In the order of their numbers; files that are no baselines are let be."""
        found = ((name, FILE.fullmatch(name)) for name in self.files.names())
        return sorted(Baseline(int(f["number"]), f["name"], f["commit"] or "", name) for name, f in found if f)

    def save(self, snapshot: Snapshot, name: str | None = None) -> Baseline:
        """Keeps a snapshot under the next number; `name`: default is the system's. Raises `FobenchError` for a bad name."""
        called = name or _slug(str(snapshot.config.get("system") or snapshot.name))
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", called):
            raise FobenchError(
                f"A baseline cannot be named {called!r}: use small letters, digits, dots, dashes and underscores."
            )
        commit = environment.git(Path.cwd()) or dict(snapshot.run.get("git") or {})
        saved = {"commit": commit, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        text = _dumps({**snapshot.to_json(), "saved": saved})
        short = f"-{str(commit['commit'])[:7]}" if commit.get("commit") else ""
        for _ in range(TRIES):
            number = max((baseline.number for baseline in self.ls()), default=0) + 1
            file = f"{number:04d}-{called}{short}.json"
            if self.files.add(file, text):
                return Baseline(number, called, short[1:], file)
        raise FobenchError(f"{self.place} is being written to by others: try again.")

    def filled(self) -> list[Baseline]:
        """`ls`, where there is something to list. Raises `FobenchError` where there is not."""
        if known := self.ls():
            return known
        save = f"fobench baseline save RUN --store {self.place}"
        raise FobenchError(f"{self.place} holds no baseline. Save one: {save}{self.files.hint}")

    def find(self, wanted: str = "") -> Baseline:
        """The baseline of a number, or the newest of a name, or the newest. Raises `FobenchError` with what there is."""
        known = self.filled()
        matching = [b for b in known if wanted in ("", b.name) or (wanted.isdecimal() and int(wanted) == b.number)]
        if not matching:
            raise unknown(
                f"baseline of {self.place}", wanted, [*(f"{b.number:04d}" for b in known), *{b.name for b in known}]
            )
        return matching[-1]

    def load(self, baseline: Baseline) -> Snapshot:
        """Raises `FobenchError` if it cannot be read."""
        return Snapshot.from_json(
            baseline.file.removesuffix(".json"), _loads(self.files.read(baseline.file), baseline.file)
        )

    def prune(self, keep: int) -> list[Baseline]:
        """Removes all but the newest `keep` of each name; returns what it removed."""
        by_name: dict[str, list[Baseline]] = {}
        for baseline in self.ls():
            by_name.setdefault(baseline.name, []).append(baseline)
        removed = sorted(old for of_name in by_name.values() for old in of_name[: max(0, len(of_name) - keep)])
        if removed:
            self.files.remove([baseline.file for baseline in removed])
        return removed


def load(place: str) -> Snapshot:
    """The snapshot at a place: a run's folder, a baseline's file, or `STORE[#NUMBER | #NAME]`.

    Raises `FobenchError` for what is none of them.
    """
    path = Path(place)
    if (path / "run.json").is_file():
        return Snapshot.of_run(path)
    if path.is_file():
        return Snapshot.from_json(path.name, _loads(_read(path), place))
    where, _, wanted = place.partition("#")
    store = BaselineStore(where) if where.startswith(GIT) or Path(where).is_dir() else None
    if store and (where.startswith(GIT) or store.ls()):
        return store.load(store.find(wanted))
    lacks = " (it has neither run.json nor a baseline)" if store else ""
    raise FobenchError(
        f"{place} is neither a run's folder nor a baseline{lacks}. Baselines: a file, FOLDER[#NUMBER | #NAME] or "
        "git:BRANCH[#...]; fobench baseline save RUN makes them."
    )


def facts(snapshots: Iterable[tuple[Baseline, Snapshot]]) -> list[tuple[str, ...]]:
    """Lines of a table: number, name, commit, day, machine, clock and costs, scenarios."""
    return [(f"{b.number:04d}", b.name, b.commit, *_facts(s.run), f"{len(s.items):,}") for b, s in snapshots]


def _facts(run: Mapping[str, Any]) -> tuple[str, str, str]:
    about, config = run.get("machine") or {}, run.get("config") or {}
    cores = f", {about['cores']} cores" if about.get("cores") else ""
    cpu = " ".join(str(about[key]) for key in ("cpu", "cpu_model") if about.get(key))
    when, machine_told = str(run.get("started") or "")[:10], f"{about.get('gpu') or cpu}{cores}"
    return when, machine_told, f"{config.get('clock') or ''}, {run.get('costs') or ''}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-.") or "run"


def _dumps(data: Mapping[str, Any]) -> str:
    """JSON with a line for each item and each part of a column, so that a change of one makes a small difference."""
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
    """Raises `FobenchError` for what cannot be read; what is no UTF-8 is no JSON, either."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise FobenchError(f"The baseline {path} cannot be read: {error.strerror}.") from error


def _loads(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise FobenchError(f"{name} is not a baseline: {error}. fobench baseline save writes one.") from error
