"""A WebSocket to a server: opened with a key from the environment, JSON both ways, and errors in the user's words."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from fobench.errors import FobenchError, PrerequisiteError, SystemFailure, describe_error

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

OPEN_S = 15.0  # time to connect
CLOSE_S = 1.0  # time for the server to agree that a connection ends
LONGEST_WAIT_S = 10.0  # that a busy server (429, 503) may ask for before the second attempt, which is the last
BUSY = (429, 503)
MESSAGE_BYTES = 1 << 24  # of one message of the server, at most
CHUNKS_PER_S = 50  # 20 ms of the user's audio each
MOST_AUDIO_S = 1_800  # of a conversation's replies: what is not played yet is in memory
SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
KeyHeader = Literal["bearer", "api-key"]


def address(url: str, path: str, query: Mapping[str, str]) -> str:
    """`url` as a WebSocket's: with `path` where it has none, and with `query` added. Raises FobenchError for another kind."""
    parts = urlsplit(url if "://" in url else f"ws://{url}")
    try:
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # its port is no number
        named = False
    if parts.scheme not in SCHEMES or not named:
        raise FobenchError(f"{url!r} is no address of a server: give ws://host:port, or wss://host/path.")
    if parts.username or parts.password:
        raise FobenchError(
            "An address must not hold a password: put the key into an environment variable (api_key_env=NAME)."
        )
    asked = {**dict(parse_qsl(parts.query)), **query}
    where = parts.path if parts.path.strip("/") else path
    return urlunsplit((SCHEMES[parts.scheme], parts.netloc, where, urlencode(asked), ""))


def public(url: str) -> str:
    """The address without its query, which may hold a key."""
    return urlunsplit((*urlsplit(url)[:3], "", ""))


def asks_for(url: str, name: str) -> bool:
    """Whether the address's query sets a switch, e.g. ?duplex=1."""
    return dict(parse_qsl(urlsplit(url).query)).get(name, "").lower() in ("1", "true", "on")


@asynccontextmanager
async def connect(url: str, secret: str | None = None, header: KeyHeader = "bearer") -> AsyncIterator[ClientConnection]:
    """An open connection. TLS certificates are verified. A busy server (429, 503) is asked once more after the time it names.

    Raises SystemFailure (`raised`) where there is none to be had.
    """
    try:
        from websockets.asyncio.client import connect as library_connect
        from websockets.exceptions import InvalidHandshake, InvalidStatus
    except ImportError as error:
        raise PrerequisiteError("websockets is not installed. Get it: pip install 'fobench[realtime]'") from error

    class DirectConnect(library_connect):
        """Follows no redirect: the key is for the address that the user gave."""

        def process_redirect(self, exc: Exception) -> Exception:
            return exc

    headers = (
        {} if secret is None else {"api-key": secret} if header == "api-key" else {"Authorization": f"Bearer {secret}"}
    )
    waited_s: float | None = None
    while True:
        try:
            socket = await DirectConnect(
                url,
                additional_headers=headers,
                max_size=MESSAGE_BYTES,
                open_timeout=OPEN_S,
                close_timeout=CLOSE_S,
                compression=None,
                proxy=None,
            )
            break
        except InvalidStatus as error:
            wait_s = _wait_s(error.response)
            if wait_s is None or wait_s > LONGEST_WAIT_S or waited_s is not None:
                raise SystemFailure("raised", _refusal(url, error.response, secret, waited_s)) from error
            waited_s = wait_s
            await asyncio.sleep(wait_s)
        except (OSError, TimeoutError, InvalidHandshake) as error:
            raise SystemFailure("raised", f"{public(url)} cannot be reached: {_problem(error)}") from error
    try:
        yield socket
    except SystemFailure:  # the server may be flooding: what waits in the connection is not read to its end
        socket.transport.abort()
        raise
    finally:
        await socket.close()


async def round_trip_ms(socket: ClientConnection) -> float | None:
    """The time of a ping and its answer, ms; None if there is none within a second, or the server has hung up."""
    from websockets.exceptions import ConnectionClosed

    start = time.perf_counter()
    try:
        await asyncio.wait_for(await socket.ping(), 1.0)
    except (TimeoutError, OSError, ConnectionClosed):
        return None
    return round(1e3 * (time.perf_counter() - start), 3)


async def send(socket: ClientConnection, message: Mapping[str, Any] | bytes) -> None:
    """Sends an event as JSON, or a binary message. Raises SystemFailure (`died`) where the connection has ended."""
    from websockets.exceptions import ConnectionClosed

    try:
        await socket.send(message if isinstance(message, bytes) else json.dumps(message))
    except ConnectionClosed as error:
        raise SystemFailure("died", closing(error)) from error


async def messages(socket: ClientConnection) -> AsyncIterator[str | bytes]:
    """The server's messages. Raises SystemFailure (`died`) at the connection's end."""
    from websockets.exceptions import ConnectionClosed

    while True:
        try:
            message = await socket.recv()
        except ConnectionClosed as error:
            raise SystemFailure("died", closing(error)) from error
        yield message


async def objects(socket: ClientConnection) -> AsyncIterator[dict[str, Any]]:
    """The server's JSON. Raises SystemFailure for a message that is none (`bad_event`), and at the connection's end (`died`)."""
    async for message in messages(socket):
        try:
            found = json.loads(message)
        except (ValueError, RecursionError) as error:
            raise SystemFailure("bad_event", f"the server sent what is not JSON: {str(message)[:60]!r}") from error
        if not isinstance(found, dict):
            raise SystemFailure("bad_event", f"the server sent JSON that is no object: {str(message)[:60]!r}")
        yield found


async def receive(socket: ClientConnection) -> AsyncIterator[dict[str, Any]]:
    """The server's events: as `objects`, and each has a type."""
    async for event in objects(socket):
        if not isinstance(event.get("type"), str):
            raise SystemFailure("bad_event", f"the server sent JSON without a type: {str(event)[:60]!r}")
        yield event


def check_length(samples: int, rate_hz: int) -> None:
    """Raises SystemFailure (`endless`) where a conversation's replies are longer than they may be; `samples`: of all so far."""
    if samples > MOST_AUDIO_S * rate_hz:
        raise SystemFailure("endless", f"more than {MOST_AUDIO_S // 60} minutes of audio in one conversation")


def closing(error: Any) -> str:
    """Why a connection has ended, by its closing code."""
    frame = error.rcvd or error.sent
    if frame is None:
        return "the server ended the connection without a reason"
    if frame.code == 1009:
        return f"the server sent a message of more than {MESSAGE_BYTES:,} bytes"
    return f"the server ended the connection: code {frame.code}{f', {frame.reason}' if frame.reason else ''}"


def _problem(error: Exception) -> str:
    """Why there is no connection."""
    if isinstance(error, TimeoutError):
        return f"no answer within {OPEN_S:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its TLS certificate is not verified ({error.verify_message}). If its authority is yours, name the file of "
            "its certificate in SSL_CERT_FILE"
        )
    return describe_error(error, name=False)


def _wait_s(response: Any) -> float | None:
    """The time that a busy server asks to wait, in seconds or as a date; None: another attempt is of no use."""
    if response.status_code not in BUSY:
        return None
    asked = response.headers.get("Retry-After", "1")
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 1.0


def _refusal(url: str, response: Any, secret: str | None, waited_s: float | None) -> str:
    """Why a server does not open the connection, and what to do."""
    status, wait_s = response.status_code, _wait_s(response)
    reasons = {
        401: "the key is not accepted" if secret else "it wants a key: give api_key_env=NAME",
        403: "the key may not do this",
        404: "there is nothing at this path: give the whole address",
    }
    if wait_s is None:
        reason = reasons.get(status, "see its log")
    else:
        busy = "it has too many requests" if status == 429 else "it is overloaded"
        also = "" if waited_s is None else f", also after waiting {waited_s:g} s"
        longer = f", longer than the {LONGEST_WAIT_S:g} s that a scenario may wait" if wait_s > LONGEST_WAIT_S else ""
        asks = f" and asks to wait {wait_s:g} s{longer}" if "Retry-After" in response.headers else ""
        reason = f"{busy}{also}{asks}. Run fewer conversations at a time (--workers), or later"
    return f"{public(url)} refuses the connection: HTTP {status}, {reason}"


async def until_one_ends(*parts: Coroutine[Any, Any, None]) -> None:
    """Runs the parts of a conversation until one of them ends, and cancels the others. Raises what that one raised."""
    tasks = {asyncio.create_task(part) for part in parts}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, SystemFailure):
                await task
