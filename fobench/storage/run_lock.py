"""One writer per run folder: a lock that the kernel releases when its process ends, with a file that says who holds it.

`FOLDER/.lock` exists while a process writes, locked by flock; a fork of that process does not hold it. A file that a killed
process left is taken over if it is of this boot of this machine (the kernel has released it) or of an earlier boot. If it is of
another machine, on a shared disk, only a person can know whether that process still runs: the message says which file to
remove. Where a disk has no locks, the process named in the file counts as long as it runs.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from fobench.errors import FobenchError

NAME = ".lock"
OWNER_BYTES = 1 << 12  # that are read of a lock file
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
TRIES = 20  # a lock file may be removed by its owner between opening and locking


@dataclass(frozen=True, slots=True)
class LockOwner:
    """The process that holds a lock. `boot`: the kernel's id of this boot; `since`: ISO 8601, UTC."""

    pid: int
    host: str
    boot: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


@dataclass(slots=True)
class _HeldLock:
    descriptor: int
    count: int  # how often this process has taken it


_held: dict[Path, _HeldLock] = {}  # by resolved folder
_guard = threading.RLock()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a run folder within the block, see `acquire`."""
    acquire(folder)
    try:
        yield
    finally:
        release(folder)


def acquire(folder: Path) -> None:
    """Takes the lock of a folder, which is created if missing; once more if this process holds it already.

    Raises `FobenchError` naming the process that holds it.
    """
    key = folder.resolve()
    with _guard:
        if key in _held:
            _held[key].count += 1
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _held[key] = _HeldLock(_take(folder), 1)
        except OSError as error:
            raise FobenchError(f"Cannot write to {folder}: {error}. Choose another folder.") from error


def release(folder: Path) -> None:
    """Gives the lock back, and removes its file when it was taken as often as it is given back."""
    key = folder.resolve()
    with _guard:
        lock = _held.get(key)
        if lock is None:
            return
        lock.count -= 1
        if not lock.count:
            del _held[key]
            if _is_file(lock.descriptor, key / NAME):
                (key / NAME).unlink(missing_ok=True)
            os.close(lock.descriptor)


def check(folder: Path) -> None:
    """Raises `FobenchError` if this process took the lock of the folder and another has it now (its file was removed)."""
    key = folder.resolve()
    lock = _held.get(key)
    if lock is not None and not _is_file(lock.descriptor, key / NAME):
        taken = f", which {owner} took over" if (owner := _owner(key / NAME)) else ""
        raise FobenchError(
            f"{folder / NAME} was removed while this process wrote to {folder}{taken}: nothing more is written."
        )


def _take(folder: Path) -> int:
    """The descriptor of the locked file, which names this process. Raises OSError, and `FobenchError` if it is held."""
    path = folder / NAME
    for _ in range(TRIES):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        try:
            has_locks = _flock(descriptor, folder)
            if _is_file(descriptor, path):
                _refuse_living(_owner(path), folder, has_locks)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(asdict(_this_process())).encode(), 0)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise FobenchError(f"Other processes are taking and leaving {folder}: try again.")


def _flock(descriptor: int, folder: Path) -> bool:
    """Locks; False where the disk has no locks. Raises `FobenchError` if another process holds the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _held_by(_owner(folder / NAME), folder) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True


def _refuse_living(owner: LockOwner | None, folder: Path, has_locks: bool) -> None:
    """Raises `FobenchError` unless the process that a lock file names has ended. `has_locks`: the file is locked by us."""
    this = _this_process()
    if owner is None or (owner.boot != this.boot and owner.host == this.host):  # nobody, or before a restart
        return
    if owner.boot != this.boot:
        raise FobenchError(
            f"{folder} was being written by {owner}, and this machine cannot tell whether that goes on. If it has ended,"
            f" remove {folder / NAME} and repeat the command."
        )
    if not has_locks and owner.pid != this.pid and _runs(owner.pid):
        raise _held_by(owner, folder)


def _held_by(owner: LockOwner | None, folder: Path) -> FobenchError:
    return FobenchError(
        f"{folder} is being written by {owner or 'another process'}: wait until that ends, or choose another folder."
    )


def _owner(path: Path) -> LockOwner | None:
    """The process that a lock file names; None if it names none (yet)."""
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(OWNER_BYTES))
        return LockOwner(int(data["pid"]), *(str(data[key])[:100] for key in ("host", "boot", "since")))
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def _this_process() -> LockOwner:
    return LockOwner(os.getpid(), platform.node(), _boot(), datetime.now(UTC).isoformat(timespec="seconds"))


@lru_cache
def _boot() -> str:
    """The kernel's id of this boot; the same in all containers of a machine. Empty where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _is_file(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        found, opened = path.lstat(), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino)


def _forget() -> None:
    """In a forked child: the lock is its parent's, and must end with that."""
    for lock in _held.values():
        with contextlib.suppress(OSError):
            os.close(lock.descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
