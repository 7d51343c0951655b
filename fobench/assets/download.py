"""A resumable HTTP download client with checksum verification."""

from __future__ import annotations

import contextlib
import http.client
import os
import queue
import re
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from fobench.assets.files import sha256
from fobench.atomic_files import open_append, sync
from fobench.errors import FobenchError
from fobench.progress_bars import ProgressBars

Callback = Callable[[str, int, int], None]  # (name, bytes done, total bytes; 0 = unknown)

BLOCK = 1 << 20  # bytes read at a time
RESPONSE_S = 10.0  # time-out of a server's response, name look-up included, and of a pause in the stream
TRIES = 4  # successive reconnections without new bytes
PAUSE_S = 0.5  # before the second reconnection; doubles each time

CONNECTION_ERRORS = (urllib.error.URLError, ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException)

_UNRESPONSIVE: dict[str, str] = {}  # hosts that did not respond to this process, with the reason


class SourceError(FobenchError):
    """A source that cannot provide a file; the message is the short reason."""


class Unreachable(SourceError):
    """A source whose server does not respond; it is not tried again in this process."""


@dataclass(frozen=True, slots=True)
class DownloadLink:
    """The URL of a file, with its SHA-256 if known. `cert` (CA bundle or folder) and `proxy` are pip's settings, if any."""

    url: str
    sha256: str | None = None
    cert: str | None = None
    proxy: str | None = None


def download(link: DownloadLink, to: Path, *, what: str, progress: Callback, size: int | None = None) -> None:
    """Downloads a link to `to`, resuming from `<to>.part` if it exists.

    `size` in bytes and `link.sha256` are enforced if set. Raises SourceError (Unreachable if the server does not respond);
    the partial file is kept for the next try unless its bytes are wrong.
    """
    part = to.with_name(f"{to.name}.part")
    tries = 2 if part.exists() else 1  # an outdated partial file has other bytes: then once from the start
    for _ in range(tries):
        _complete(link, part, what, progress, size)
        if link.sha256 in (None, sha256(part)):
            sync(part)
            part.replace(to)
            return
        part.unlink()
    raise SourceError("the bytes received do not have the expected SHA-256")


def _complete(link: DownloadLink, part: Path, what: str, progress: Callback, size: int | None) -> None:
    """Appends to `part` until it is complete, reconnecting as long as new bytes arrive."""
    host = urllib.parse.urlsplit(link.url).netloc
    if host in _UNRESPONSIVE:
        raise Unreachable(_UNRESPONSIVE[host])
    start, idle = _length(part), 0
    while True:
        before = _length(part)
        try:
            if _append(link, part, what, progress, size):
                return
            reason = "the connection closed early"
        except urllib.error.HTTPError as error:
            raise SourceError(f"HTTP {error.code} {error.reason}") from error
        except CONNECTION_ERRORS as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
            if before == start == _length(part):
                _UNRESPONSIVE.update({host: reason} if host else {})
                raise Unreachable(reason) from error
        idle = 0 if _length(part) > before else idle + 1
        if idle == TRIES:
            raise SourceError(reason)
        time.sleep(PAUSE_S * (2**idle - 1))


def _append(link: DownloadLink, part: Path, what: str, progress: Callback, size: int | None) -> bool:
    """Appends the bytes of one connection; True if `part` is complete."""
    offset = _length(part)
    try:
        response = _open(link, offset)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not offset:  # 416: there are no bytes after the offset
            raise
        if error.headers.get("Content-Range") == f"bytes */{offset}":
            return True
        part.unlink()
        return _append(link, part, what, progress, size)
    with response:
        offset, total = _range(response, offset)
        if size is not None and total not in (0, size):
            part.unlink(missing_ok=True)
            raise SourceError(f"the server has {total} bytes, not the pinned {size}")
        with open_append(part) as out:
            out.truncate(offset)
            done = _copy(response, out, offset, total or size or 0, what, progress)
    return done == total if total else size in (None, done)


def _range(response: Any, offset: int) -> tuple[int, int]:
    """(offset of the response's first byte, size of the whole file; 0 if the server does not say)."""
    if response.status == 206:
        content_range = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range") or "")
        if content_range is None or int(content_range[1]) != offset:
            raise SourceError("the server resumes at another offset than requested")
        return offset, int(content_range[2]) if content_range[2] != "*" else 0
    return 0, int(response.headers.get("Content-Length") or 0)


def _copy(response: Any, out: BinaryIO, done: int, limit: int, what: str, progress: Callback) -> int:
    """Copies the rest of the stream, at most to `limit` bytes in all (0: no limit); returns the bytes written so far."""
    progress(what, done, limit)
    while block := _read(response):
        done += len(block)
        if limit and done > limit:
            raise SourceError(f"the server sends more than {limit} bytes")
        out.write(block)
        progress(what, done, limit)
    return done


def _read(response: Any) -> bytes:
    try:
        return bytes(response.read1(BLOCK))
    except OSError as error:  # so that it differs from an OSError of the disk
        raise ConnectionError(str(error)) from error


def _open(link: DownloadLink, offset: int) -> Any:
    """The response from byte `offset` on. Raises TimeoutError if there is none within RESPONSE_S."""
    if urllib.parse.urlsplit(link.url).scheme not in ("https", "http", "file"):
        raise SourceError("its URL is neither https, http nor file")
    request = urllib.request.Request(link.url, headers={"User-Agent": "fobench", "Accept-Encoding": "identity"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    opener = urllib.request.build_opener(*_handlers(link))
    return _call_with_timeout(RESPONSE_S, lambda: opener.open(request, timeout=RESPONSE_S))


def _handlers(link: DownloadLink) -> list[urllib.request.BaseHandler]:
    cert = link.cert or os.environ.get("PIP_CERT") or os.environ.get("REQUESTS_CA_BUNDLE")
    proxy = [urllib.request.ProxyHandler({"http": link.proxy, "https": link.proxy})] if link.proxy else []
    return [urllib.request.HTTPSHandler(context=_tls_context(cert)), *proxy]


@lru_cache
def _tls_context(cert: str | None) -> ssl.SSLContext:
    """The TLS context for a CA bundle or folder, cached because reading one takes tens of milliseconds."""
    folder = cert is not None and Path(cert).is_dir()
    try:
        return ssl.create_default_context(cafile=None if folder else cert, capath=cert if folder else None)
    except OSError as error:
        raise SourceError(f"the CA bundle {cert} cannot be read") from error


def _call_with_timeout(seconds: float, call: Callable[[], Any]) -> Any:
    """The result of `call()`, or its exception. It runs in a thread, because a name look-up has no time-out."""
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
        raise TimeoutError(f"no response within {seconds:.0f} s") from None
    if error is not None:
        raise error
    return result


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextlib.contextmanager
def download_progress() -> Iterator[Callback]:
    """A callback that shows bars with rate and ETA on a terminal, else a line per file on stderr."""
    with ProgressBars(of_bytes=True) as bars:
        yield lambda what, done, total: bars.update(
            what, done, total, line=f"{what}: {total / 1e6:.1f} MB" if done == total > 0 else ""
        )
