"""Bytes from where they lie safely onto the disk: a resumable HTTP client, and wheels read as plain zip archives."""

from __future__ import annotations

import http.client
import os
import queue
import re
import ssl
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from fobench.assets.files import sha256
from fobench.errors import FobenchError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Callback = Callable[[str, int, int], None]  # (what, bytes done, bytes in all; 0 = unknown)

BLOCK = 1 << 20  # bytes read at a time
ANSWER_S = 10.0  # longest wait for a server's answer, name look-up included; also for a pause in the stream
TRIES = 4  # reconnections in a row that bring nothing
PAUSE_S = 0.5  # before the second of them; doubles
FIND_S = 60.0  # longest wait for pip's look at the indexes
PIP_S = 3600.0  # longest `pip download`

BROKEN = (urllib.error.URLError, ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException)

_SILENT: dict[str, str] = {}  # hosts that gave this process no answer, and why


class SourceError(FobenchError):
    """One source cannot give a file; the message is the short reason."""


class Unreachable(SourceError):
    """The source's server gives no answer: not worth asking again in this process."""


@dataclass(frozen=True, slots=True)
class DownloadLink:
    """Where an archive or file lies. `cert` (CA bundle or folder) and `proxy` are pip's settings, where it has any."""

    url: str
    sha256: str | None = None
    cert: str | None = None
    proxy: str | None = None


def download(link: DownloadLink, to: Path, *, what: str, progress: Callback, size: int | None = None) -> None:
    """Bring a link's bytes to `to`, going on from `<to>.part` if an earlier try left one.

    `size` in bytes and `link.sha256` are enforced where given. Raises SourceError (Unreachable if nobody answers); the
    partial file stays for the next try unless its bytes are wrong.
    """
    part = to.with_name(f"{to.name}.part")
    tries = 2 if part.exists() else 1  # an older partial file may not fit: then once afresh
    for _ in range(tries):
        _complete(link, part, what, progress, size)
        if link.sha256 in (None, sha256(part)):
            part.replace(to)
            return
        part.unlink()
    raise SourceError("the bytes received do not have the expected SHA-256")


def _complete(link: DownloadLink, part: Path, what: str, progress: Callback, size: int | None) -> None:
    """Append to `part` until it is whole, reconnecting as long as bytes keep coming."""
    host = urllib.parse.urlsplit(link.url).netloc
    if host in _SILENT:
        raise Unreachable(_SILENT[host])
    start, idle = _length(part), 0
    while True:
        before = _length(part)
        try:
            if _append(link, part, what, progress, size):
                return
            reason = "the connection closed early"
        except urllib.error.HTTPError as error:
            raise SourceError(f"HTTP {error.code} {error.reason}") from error
        except BROKEN as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
            if before == start == _length(part):
                _SILENT.update({host: reason} if host else {})
                raise Unreachable(reason) from error
        idle = 0 if _length(part) > before else idle + 1
        if idle == TRIES:
            raise SourceError(reason)
        time.sleep(PAUSE_S * (2**idle - 1))


def _append(link: DownloadLink, part: Path, what: str, progress: Callback, size: int | None) -> bool:
    """One connection's worth of bytes; True once `part` is whole."""
    offset = _length(part)
    try:
        response = _open(link, offset)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not offset:  # 416: nothing lies beyond our offset
            raise
        if error.headers.get("Content-Range") == f"bytes */{offset}":
            return True
        part.unlink()
        return _append(link, part, what, progress, size)
    with response:
        offset, total = _range(response, offset)
        if size is not None and total not in (0, size):
            part.unlink(missing_ok=True)
            raise SourceError(f"it has {total} bytes there, not the pinned {size}")
        with part.open("ab") as out:
            out.truncate(offset)
            done = _pour(response, out, offset, total or size or 0, what, progress)
    return done == total if total else size in (None, done)


def _range(response: Any, offset: int) -> tuple[int, int]:
    """Where the response's bytes start, and how many the whole has (0: the server does not say)."""
    if response.status == 206:
        answer = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range") or "")
        if answer is None or int(answer[1]) != offset:
            raise SourceError("the server resumes at another place than asked")
        return offset, int(answer[2]) if answer[2] != "*" else 0
    return 0, int(response.headers.get("Content-Length") or 0)


def _pour(response: Any, out: BinaryIO, done: int, limit: int, what: str, progress: Callback) -> int:
    """Copy to the end of the stream, never past `limit` bytes in all (0: no limit); the bytes there are then."""
    progress(what, done, limit)
    while block := _read(response):
        done += len(block)
        if limit and done > limit:
            raise SourceError(f"it sends more than {limit} bytes")
        out.write(block)
        progress(what, done, limit)
    return done


def _read(response: Any) -> bytes:
    try:
        return bytes(response.read1(BLOCK))
    except OSError as error:  # told apart from an OSError of our disk
        raise ConnectionError(str(error)) from error


def _open(link: DownloadLink, offset: int) -> Any:
    """The response from byte `offset` on; TimeoutError if no answer comes within ANSWER_S."""
    if urllib.parse.urlsplit(link.url).scheme not in ("https", "http", "file"):
        raise SourceError("its link is neither https, http nor file")
    request = urllib.request.Request(link.url, headers={"User-Agent": "fobench", "Accept-Encoding": "identity"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    opener = urllib.request.build_opener(*_handlers(link))
    return _within(ANSWER_S, lambda: opener.open(request, timeout=ANSWER_S))


def _handlers(link: DownloadLink) -> list[urllib.request.BaseHandler]:
    cert = link.cert or os.environ.get("PIP_CERT") or os.environ.get("REQUESTS_CA_BUNDLE")
    proxy = [urllib.request.ProxyHandler({"http": link.proxy, "https": link.proxy})] if link.proxy else []
    return [urllib.request.HTTPSHandler(context=_trust(cert)), *proxy]


@lru_cache
def _trust(cert: str | None) -> ssl.SSLContext:
    """Reading a CA bundle takes tens of milliseconds, hence the cache."""
    folder = cert is not None and Path(cert).is_dir()
    try:
        return ssl.create_default_context(cafile=None if folder else cert, capath=cert if folder else None)
    except OSError as error:
        raise SourceError(f"the CA bundle {cert} cannot be read") from error


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """`call()`'s result or exception. A thread, because the look-up of a name obeys no socket time-out."""
    answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        result, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:.0f} s") from None
    if error is not None:
        raise error
    return result


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


class RichProgress:
    """Bars with rate and ETA on a terminal; elsewhere a line on stderr for each file. A context manager."""

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> RichProgress:
        return self

    def __call__(self, what: str, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            if done == total > 0:
                print(f"{what}: {total / 1e6:.1f} MB", file=sys.stderr)
            return
        bars = self._bars or self._start()
        if what not in self._tasks:
            self._tasks[what] = bars.add_task(what)
        bars.update(self._tasks[what], completed=done, total=total or None)

    def _start(self) -> Progress:
        from rich import progress as rp
        from rich.console import Console

        columns = (rp.TextColumn("{task.description}"), rp.BarColumn(), rp.DownloadColumn(), rp.TransferSpeedColumn())
        self._bars = rp.Progress(*columns, rp.TimeRemainingColumn(), console=Console(stderr=True))
        self._bars.start()
        return self._bars

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()
