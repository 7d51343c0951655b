"""Files on disk: checksums, locks, free space, and disk errors as messages."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from fobench.errors import PrerequisiteError

if TYPE_CHECKING:
    pass
SPARE_BYTES = 64 << 20  # left free on the disk

log = logging.getLogger("fobench.assets")


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def safe_path(name: str) -> bool:
    """True for a relative path that stays below where it starts, on any platform."""
    parts = PurePosixPath(name).parts
    return bool(parts) and ".." not in parts and not name.startswith("/") and "\\" not in name and ":" not in name


def check_space(folder: Path, need: int) -> None:
    """PrerequisiteError unless `need` bytes and SPARE_BYTES fit on the folder's disk."""
    free = shutil.disk_usage(folder).free
    if free < need + SPARE_BYTES:
        problem = f"{(need + SPARE_BYTES) / 1e6:.0f} MB of disk are needed, {folder} has {free / 1e6:.0f} MB free."
        raise PrerequisiteError(f"{problem} Free some, or set FOBENCH_HOME to a folder on a larger disk.")


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """A full or forbidden disk as a PrerequisiteError that names the way out."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        problem = f"{error.filename or folder}: {error.strerror}."
        raise PrerequisiteError(f"{problem} Mend that, or set FOBENCH_HOME to another folder.") from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; the kernel frees the lock of a process that is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another process: %s", path.name)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
