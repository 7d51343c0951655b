"""Atomic file writes: a temporary file in the same folder, fsync, rename. A reader sees the old file or the complete new one."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

STALE = ".*.part"  # glob of the temporary files left by killed processes


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """An empty temporary file beside `target`, which replaces `target` if the block ends without an error.

    The file is new and has a unique name (two writers never share one; a symbolic link in its place is refused) and the
    default permissions. After an error it is removed and an existing `target` is kept. Raises OSError naming `target`
    if its folder is missing or not writable.
    """
    temporary = target.with_name(f".{target.name[:48]}.{secrets.token_hex(8)}.part")  # 48: a name has at most 255 bytes
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
    except OSError as error:
        error.filename = str(target)
        raise
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(temporary), temporary):
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise


def write_bytes(target: Path, data: bytes) -> Path:
    """Writes `data` atomically and returns `target`. Raises OSError."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)
    return target


def write_text(target: Path, text: str, *, errors: str = "strict", parents: bool = False) -> Path:
    """Writes `text` as UTF-8, like `write_bytes`. `errors`: as for str.encode; `parents`: creates missing folders."""
    if parents:
        target.parent.mkdir(parents=True, exist_ok=True)
    return write_bytes(target, text.encode("utf-8", errors))
