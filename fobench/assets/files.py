"""Files on disk: checksums, locks, free space, and disk errors as user messages."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from fobench.atomic_files import open_append
from fobench.errors import PrerequisiteError

SPARE_BYTES = 64 << 20  # kept free on the disk

log = logging.getLogger("fobench.assets")


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def safe_path(name: str) -> bool:
    """Whether `name` is a relative path that stays below its root on any platform."""
    parts = PurePosixPath(name).parts
    return bool(parts) and ".." not in parts and not name.startswith("/") and "\\" not in name and ":" not in name


def check_space(folder: Path, need: int) -> None:
    """Raises PrerequisiteError unless `need` bytes plus SPARE_BYTES fit on the folder's disk."""
    free = shutil.disk_usage(folder).free
    if free < need + SPARE_BYTES:
        problem = (
            f"{(need + SPARE_BYTES) / 1e6:.0f} MB of disk space are needed; {folder} has {free / 1e6:.0f} MB free."
        )
        raise PrerequisiteError(f"{problem} Free some space, or set FOBENCH_HOME to a folder on a larger disk.")


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns an OSError of a full or read-only disk into a PrerequisiteError that gives the fix."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        problem = f"{error.filename or folder}: {error.strerror}."
        raise PrerequisiteError(f"{problem} Fix this, or set FOBENCH_HOME to another folder.") from error


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Holds the lock file `path`, one process at a time; the kernel releases the lock of a killed process.

    Yields True once the lock is held; without `wait`, False at once if another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_append(path) as file:
        held = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = wait
            if wait:
                log.info("waiting for another process: %s", path.name)
                fcntl.flock(file, fcntl.LOCK_EX)
        yield held
