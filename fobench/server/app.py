"""The server: WebSocket connections with limits, and three pages over HTTP: the client page, its health, its counters."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import itertools
import json
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fobench.api.components import System
from fobench.errors import FobenchError, PrerequisiteError
from fobench.server.call import Call, Hangup
from fobench.server.counters import Counters
from fobench.server.questions import Question

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

PATHS = ("/v1/realtime", "/realtime")
PROTOCOL = "realtime"
KEY_PROTOCOL = "openai-insecure-api-key."  # sub-protocol by which a browser hands over its key
MESSAGE_BYTES = 1 << 24
RETRY_S = 5
PAGE = {"/": ("page.html", "text/html"), "/page.css": ("page.css", "text/css")}
SCRIPTS = ("page.js", "microphone.js", "scenario.js")
PAGE |= {f"/{name}": (name, "text/javascript") for name in SCRIPTS}
POLICY = (
    "default-src 'self'; connect-src 'self' ws: wss:; style-src 'self'; img-src 'self' data:; media-src 'self' blob:"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server admits."""

    sessions: int = 4
    minutes: float = 30.0
    idle_s: float = 120.0


@dataclass(slots=True)
class Server:
    """Serves one system to several clients at a time."""

    system: System
    model: str
    host: str = "127.0.0.1"
    port: int = 8765
    key: str | None = None
    origins: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    questions: Mapping[str, Question] = field(default_factory=dict)  # that the page can play, by a name for its address
    counters: Counters = field(default_factory=Counters)
    _numbers: Any = field(default_factory=itertools.count)

    async def run(self, ready: Callable[[str], None] = lambda url: None) -> None:
        """Serves until SIGINT or SIGTERM. `ready` gets the address. Raises FobenchError where the port is taken."""
        try:
            from websockets.asyncio.server import serve
        except ImportError as error:
            raise PrerequisiteError("websockets is not installed. Get it: pip install 'fobench[realtime]'") from error
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(
                NotImplementedError, RuntimeError, ValueError
            ):  # not in the main thread, or Windows
                loop.add_signal_handler(number, stop.set)
        options: dict[str, Any] = {"process_request": self._admit, "select_subprotocol": _subprotocol}
        options |= {"max_size": MESSAGE_BYTES, "compression": None, "server_header": "fobench"}
        try:
            server = await serve(self._talk, self.host, self.port, **options)
        except OSError as error:
            raise FobenchError(
                f"{self.host}:{self.port} cannot be served: {error.strerror}. Choose another --port."
            ) from error
        async with server:
            port = next(iter(server.sockets)).getsockname()[1]
            ready(f"http://{self.host}:{port}")
            await stop.wait()

    # ---- admission -----------------------------------------------------------------------------------------------------

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """The answer to a request over HTTP, and to a connection that is refused; None: it is admitted."""
        path = urlsplit(request.path).path
        if path == "/health":
            return connection.respond(HTTPStatus.OK, "ok\n")
        if path == "/metrics":
            return connection.respond(HTTPStatus.OK, self.counters.text())
        if path in PAGE:
            return _page(*PAGE[path])
        if path == "/questions.json":
            listed = [{"id": name, "text": question.text} for name, question in self.questions.items()]
            return _response(json.dumps(listed).encode(), "application/json")
        if (name := path.removeprefix("/questions/").removesuffix(".wav")) in self.questions:
            return _response(self.questions[name].wav(), "audio/wav")
        refusal = self._refusal(path, request)
        if refusal is None:
            return None
        self.counters.refused += 1
        response = connection.respond(refusal[0], refusal[1] + "\n")
        if refusal[0] == HTTPStatus.SERVICE_UNAVAILABLE:
            response.headers["Retry-After"] = str(RETRY_S)
        return response

    def _refusal(self, path: str, request: Request) -> tuple[HTTPStatus, str] | None:
        if path.rstrip("/") not in PATHS:
            return HTTPStatus.NOT_FOUND, f"There is nothing at this path. Connect to {PATHS[0]}."
        if not self._from_allowed_page(request):
            return HTTPStatus.FORBIDDEN, "Pages of this origin are not allowed: start the server with --origin."
        if self.key is not None and not any(hmac.compare_digest(k.encode(), self.key.encode()) for k in _keys(request)):
            return HTTPStatus.UNAUTHORIZED, "A key is needed: Authorization: Bearer KEY."
        if self.counters.sessions >= self.limits.sessions:
            text = f"All {self.limits.sessions} sessions are in use (--sessions). Try again later."
            return HTTPStatus.SERVICE_UNAVAILABLE, text
        return None

    def _from_allowed_page(self, request: Request) -> bool:
        """Whether the request is from no page of a browser, from ours, or from one that is allowed."""
        origin = request.headers.get("Origin")
        return origin is None or origin in self.origins or urlsplit(origin).netloc == request.headers.get("Host")

    # ---- a connection --------------------------------------------------------------------------------------------------

    async def _talk(self, socket: ServerConnection) -> None:
        from websockets.exceptions import ConnectionClosed

        number = next(self._numbers)
        call = Call(self.system, self.model, f"sess_{number:06d}", number, asyncio.get_running_loop(), self.counters)
        self.counters.sessions += 1
        self.counters.opened += 1
        tasks = [asyncio.create_task(part) for part in (_read(socket, call), _write(socket, call), self._watch(call))]
        try:
            call.begin()
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except Hangup as error:
            self.counters.hung_up += error.code != 1011
            await _drain(socket, call)
            await socket.close(error.code, str(error)[:100])
        except ConnectionClosed:
            pass
        finally:
            for task in tasks:
                task.cancel()
            call.end()
            self.counters.sessions -= 1

    async def _watch(self, call: Call) -> None:
        """Raises Hangup at a limit of time, and where the call says so."""
        start = time.perf_counter_ns()
        while True:
            await asyncio.sleep(0.1)
            now = time.perf_counter_ns()
            if call.ended is not None:
                raise call.ended
            if now - start > self.limits.minutes * 60e9:
                raise Hangup(1008, f"a session may last {self.limits.minutes:g} minutes")
            if now - call.active_ns > self.limits.idle_s * 1e9:
                raise Hangup(1008, f"nothing was received for {self.limits.idle_s:g} s")


async def _read(socket: ServerConnection, call: Call) -> None:
    async for message in socket:
        await call.take(message)


async def _write(socket: ServerConnection, call: Call) -> None:
    while (message := await call.outgoing.get()) is not None:
        await socket.send(message)
    await asyncio.sleep(1)  # the watch ends the connection


async def _drain(socket: ServerConnection, call: Call) -> None:
    """Sends what is left for a client, for a moment: the error that ends the session."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(1):
            while not call.outgoing.empty() and (message := call.outgoing.get_nowait()) is not None:
                await socket.send(message)


def _subprotocol(connection: ServerConnection, offered: Any) -> Any:
    """`realtime` where it is offered; clients that offer none are as welcome."""
    return PROTOCOL if PROTOCOL in offered else None


def _keys(request: Request) -> list[str]:
    """The keys that a request brings: in its header, or among its sub-protocols."""
    header = request.headers.get("Authorization", "")
    keys = [header.removeprefix("Bearer ").strip(), request.headers.get("api-key", "")]
    offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    return keys + [name.strip().removeprefix(KEY_PROTOCOL) for name in offered if KEY_PROTOCOL in name]


def _page(name: str, kind: str) -> Response:
    return _response(resources.files("fobench.server").joinpath("page", name).read_bytes(), f"{kind}; charset=utf-8")


def _response(body: bytes, kind: str) -> Response:
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}
    headers |= {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
    return Response(HTTPStatus.OK.value, HTTPStatus.OK.phrase, Headers(headers), body)
