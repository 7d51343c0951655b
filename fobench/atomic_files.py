"""Safe files: names from data that stay in their folder, and atomic writes (a temporary file in the same folder, fsync, rename).

A reader sees the old file or the complete new one. No file is opened through a symbolic link in its place.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

STALE = ".*.part"  # glob of the temporary files left by killed processes
TEMPORARY = re.compile(r"\..{1,48}\.[0-9a-f]{16}\.part", re.DOTALL)
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # device names on Windows
HASHED = re.compile(r".*-[0-9a-f]{16}", re.IGNORECASE)
LENGTH = 80  # of the readable part of a file name
NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EINVAL)


def plain_name(text: str) -> str:
    """A name of one file or folder made of `text`: valid on every platform, never empty, not unique."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip(".")[:LENGTH].rstrip(".")
    return f"_{plain}" if not plain or RESERVED.fullmatch(plain) else plain


def file_name(text: str) -> str:
    """A file name for any text: the text itself if possible, else its valid characters and a hash.

    Different texts get different names, also where upper and lower case are the same.
    """
    plain = plain_name(text)
    if plain == text == text.lower() and not HASHED.fullmatch(text):
        return plain
    return f"{plain}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:16]}"


def file_names(texts: Iterable[str]) -> dict[str, str]:
    """{text: file name}, like `file_name`; upper case is kept where no other of the texts differs only in case."""
    distinct = dict.fromkeys(texts)
    count = Counter(text.lower() for text in distinct)
    return {
        text: text
        if text == plain_name(text) and count[text.lower()] == 1 and not HASHED.fullmatch(text)
        else file_name(text)
        for text in distinct
    }


def is_file_name(text: object) -> bool:
    """Whether a text is the name of a file in a folder here, and not a path."""
    return isinstance(text, str) and text not in ("", ".", "..") and not {"/", "\0", os.sep} & set(text)


def file_inside(folder: Path, name: str) -> Path | None:
    """The existing file `name` (a relative path, links followed) of a folder; None if there is none, or it lies elsewhere."""
    try:
        path = (folder / name).resolve()
        return path if path.is_relative_to(folder.resolve()) and path.is_file() else None
    except (OSError, ValueError, RuntimeError):  # too long, a NUL byte, a circle of links
        return None


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside `target`, with its path; removed at the end if it is still there. OSErrors name `target`."""
    path = target.with_name(f".{target.name[:48]}.{secrets.token_hex(8)}.part")  # 48: a name has at most 255 bytes
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        error.filename = str(target)
        raise
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield path, file
    except OSError as error:
        if error.errno and error.filename in (None, str(path), path):
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk, where the file system can tell."""
    with contextlib.suppress(OSError):
        sync(folder)


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """An empty temporary file beside `target`, which replaces `target` if the block ends without an error.

    The file is new and has a unique name (two writers never share one; a symbolic link in its place is refused) and the
    default permissions. After an error it is removed and an existing `target` is kept. Raises OSError naming `target`
    if its folder is missing or not writable.
    """
    with _temporary(target) as (path, _):
        yield path
        sync(path)
        path.replace(target)
        sync_folder(target.parent)


def write_bytes(target: Path, data: bytes) -> Path:
    """Writes `data` atomically and returns `target`. Raises OSError; an existing `target` is then kept."""
    with _temporary(target) as (path, file):
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        path.replace(target)
        sync_folder(target.parent)
    return target


def write_text(target: Path, text: str, *, errors: str = "strict", parents: bool = False) -> Path:
    """Writes `text` as UTF-8, like `write_bytes`. `errors`: as for str.encode; `parents`: creates missing folders."""
    if parents:
        target.parent.mkdir(parents=True, exist_ok=True)
    return write_bytes(target, text.encode("utf-8", errors))


def write_new(target: Path, data: bytes) -> bool:
    """Writes a file that does not exist yet, atomically; False if `target` exists. Raises OSError."""
    with _temporary(target) as (path, file):
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        try:
            os.link(path, target, follow_symlinks=False)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            if os.path.lexists(target):  # without hard links, another process may still come between
                return False
            path.replace(target)
        sync_folder(target.parent)
    return True


def open_append(path: Path) -> BinaryIO:
    """A file opened to append, created if missing. Raises OSError for a symbolic link, or anything but a regular file."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return os.fdopen(descriptor, "ab")


def open_new(path: Path) -> BinaryIO:
    """A new file opened to write; what was at `path` is removed before, a symbolic link included. Raises OSError."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666), "wb")


def remove_temporary(folder: Path) -> None:
    """Removes the temporary files that killed writers left anywhere below a folder."""
    for path in folder.rglob(STALE):
        if TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)
