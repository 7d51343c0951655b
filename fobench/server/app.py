"""The server: WebSocket connections with limits, and three pages over HTTP: the client page, its health, its counters."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fobench.api.components import System
from fobench.api.scenario import Scenario
from fobench.errors import FobenchError, PrerequisiteError
from fobench.execution import warm_up
from fobench.execution.system_driver import LocalDriver
from fobench.server import admission, connections
from fobench.server.admission import Refusal
from fobench.server.background import TextAnswers, in_thread
from fobench.server.call import MOST_BLOCKED_S, Call, Hangup
from fobench.server.counters import Counters
from fobench.server.pcm_call import PcmCall
from fobench.server.questions import Question
from fobench.server.realtime_call import RealtimeCall
from fobench.simulation.clock import VirtualClock, WallClock

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.exceptions import ConnectionClosed
    from websockets.http11 import Request, Response

PROTOCOL = "realtime"
MESSAGE_BYTES = 1 << 22  # a minute of 24 kHz audio as base64
MOST_READ_AHEAD = 4  # messages of a client that wait to be handled
HANDSHAKE_S = 5.0  # time for a client to ask for its connection
CLOSING_S = 2.0  # time for a client to answer the end of its connection
GRACE_S = 5.0  # time for replies to end when the server stops
RETRY_S = 5
PAGE = {"/": ("page.html", "text/html"), "/page.css": ("page.css", "text/css")}
SCRIPTS = ("page.js", "microphone.js", "scenario.js")
PAGE |= {f"/{name}": (name, "text/javascript") for name in SCRIPTS}
TEXT = "text/plain; charset=utf-8"
POLICY = (
    "default-src 'self'; connect-src 'self' ws: wss:; style-src 'self'; img-src 'self' data:; media-src 'self' blob:"
)
ENDED_BY_LIBRARY = {1002: "protocol", 1003: "protocol", 1007: "protocol", 1009: "message_size", 1011: "keepalive"}
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server admits."""

    sessions: int = 4
    minutes: float = 30.0
    idle_s: float = 120.0


@dataclass(slots=True)
class Server:
    """Serves one system to several clients at a time. `rehearsal`: the scenario that warms the system up; None: nothing does."""

    system: System
    model: str
    host: str = "127.0.0.1"
    port: int = 8765
    key: str | None = None
    origins: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    questions: Mapping[str, Question] = field(default_factory=dict)  # that the page can play, by a name for its address
    rehearsal: Scenario | None = None
    counters: Counters = field(default_factory=Counters)
    _numbers: Any = field(default_factory=itertools.count)
    _calls: set[Call] = field(default_factory=set)
    _ending: set[Call] = field(default_factory=set)  # whose clients have left, and whose sessions may still work
    _starting: bool = True
    _answers: TextAnswers = field(init=False)
    _deadline_ns: int | None = None  # for replies to end, once the server stops

    def __post_init__(self) -> None:
        self._answers = TextAnswers(self.limits.sessions)

    async def run(self, ready: Callable[[str], None] = lambda url: None) -> None:
        """Serves until SIGINT or SIGTERM; then lets replies end for a moment, which a second signal cuts short.

        `ready` gets the address when conversations can begin. Raises FobenchError where the port is taken.
        """
        try:
            from websockets.asyncio.server import serve
        except ImportError as error:
            raise PrerequisiteError("websockets is not installed. Get it: pip install 'fobench[realtime]'") from error
        stopping = asyncio.Event()
        self._listen_to_signals(stopping)
        self.counters.running = lambda: [call.times for call in self._calls]
        quiet = logging.getLogger(f"{__name__}.websockets")
        quiet.setLevel(logging.CRITICAL + 1)  # what clients do wrong is no news of the server's
        logging.getLogger("asyncio").addFilter(connections.is_news)
        options: dict[str, Any] = {"process_request": self._answer, "select_subprotocol": _subprotocol, "logger": quiet}
        options |= {"max_size": MESSAGE_BYTES, "max_queue": MOST_READ_AHEAD, "compression": None}
        options["create_connection"] = connections.bounded(self.limits.sessions + connections.BESIDE_SESSIONS)
        options |= {"open_timeout": HANDSHAKE_S, "close_timeout": CLOSING_S, "server_header": "fobench"}
        try:
            server = await serve(self._talk, self.host, self.port, **options)
        except OSError as error:
            raise FobenchError(
                f"{self.host}:{self.port} cannot be served: {error.strerror}. Choose another --port."
            ) from error
        async with server:
            port = next(iter(server.sockets)).getsockname()[1]
            if self.rehearsal is not None:
                await _first_of(in_thread(partial(self._rehearse, self.rehearsal)), stopping.wait())
            self._starting = False
            if not stopping.is_set():
                ready(f"http://{self.host}:{port}")
            await stopping.wait()
            await self._let_end()

    def _listen_to_signals(self, stopping: asyncio.Event) -> None:
        def stop() -> None:
            again = stopping.is_set()
            self._deadline_ns = time.perf_counter_ns() + (0 if again else int(GRACE_S * 1e9))
            stopping.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # another thread, or Windows
                loop.add_signal_handler(number, stop)

    def _rehearse(self, scenario: Scenario) -> None:
        driver = LocalDriver(self.system)
        clock = WallClock() if driver.real_time() else VirtualClock()
        if failure := warm_up.warm_up(scenario, driver, clock):
            LOG.warning("The warm-up failed, as conversations may: %s", failure)

    async def _let_end(self) -> None:
        """Waits until the sessions have ended: each does when it replies no more, or at the deadline (`_watch`)."""
        while self._calls:
            await asyncio.sleep(0.02)

    # ---- HTTP ----------------------------------------------------------------------------------------------------------

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """The answer to a request over HTTP, and to a connection that is refused; None: it is admitted."""
        try:
            return self._page(request) or self._refuse(request)
        except (ValueError, LookupError) as error:  # no address, or a header that may stand once and stands twice
            LOG.debug("A request cannot be read: %s", error)
            self.counters.refused["request"] += 1
            return _response(
                b"The request cannot be read: look at its path and its headers.\n", TEXT, HTTPStatus.BAD_REQUEST
            )

    def _page(self, request: Request) -> Response | None:
        """The page at a request's path; None: there is none."""
        path = urlsplit(request.path).path
        if path == "/health":
            state = "starting" if self._starting else "stopping" if self._deadline_ns else "ok"
            status = HTTPStatus.OK if state == "ok" else HTTPStatus.SERVICE_UNAVAILABLE
            return _response(f"{state}\n".encode(), TEXT, status)
        if path == "/metrics":
            return _response(self.counters.text().encode(), "text/plain; version=0.0.4; charset=utf-8")
        if path in PAGE:
            name, kind = PAGE[path]
            file = resources.files("fobench.server").joinpath("page", name)
            return _response(file.read_bytes(), f"{kind}; charset=utf-8")
        if path == "/questions.json":
            listed = [{"id": name, "text": question.text} for name, question in self.questions.items()]
            return _response(json.dumps(listed).encode(), "application/json")
        if (name := path.removeprefix("/questions/").removesuffix(".wav")) in self.questions:
            return _response(self.questions[name].wav(), "audio/wav")
        return None

    def _refuse(self, request: Request) -> Response | None:
        refusal = admission.refusal(request, self.key, self.origins) or self._no_room()
        if refusal is None:
            return None
        self.counters.refused[refusal.reason] += 1
        return _response(f"{refusal.text}\n".encode(errors="replace"), TEXT, refusal.status)

    def _no_room(self) -> Refusal | None:
        """Why no further session can begin now."""
        busy = HTTPStatus.SERVICE_UNAVAILABLE
        if self._starting:
            return Refusal(busy, "starting", "The server is warming up. Try again in a moment.")
        if self._deadline_ns is not None:
            return Refusal(busy, "stopping", "The server is being stopped.")
        if self.counters.sessions >= self.limits.sessions:
            text = f"All {self.limits.sessions} sessions are in use (--sessions). Try again later."
            return Refusal(busy, "sessions", text)
        self._ending = {call for call in self._ending if call.is_working()}
        if len(self._ending) > self.limits.sessions:
            text = f"The system still works for {len(self._ending)} clients that have left. Try again later."
            return Refusal(busy, "sessions", text)
        return None

    # ---- a connection --------------------------------------------------------------------------------------------------

    async def _talk(self, socket: ServerConnection) -> None:
        from websockets.exceptions import ConnectionClosed

        if (refusal := self._no_room()) is not None:  # others were admitted at the same time
            self.counters.refused[refusal.reason] += 1
            await socket.close(1013, refusal.text)
            return
        call = self._call(socket)
        self._calls.add(call)
        self.counters.sessions += 1
        self.counters.opened += 1
        tasks = [asyncio.create_task(part) for part in (_read(socket, call), _write(socket, call), self._watch(call))]
        try:
            call.begin()
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except Hangup as error:
            self.counters.dropped[error.reason] += error.code != 1011
            tasks[1].cancel()
            await _close(socket, call, error)
        except ConnectionClosed as error:
            if (reason := _ended_by_us(error)) is not None:
                self.counters.dropped[reason] += 1
        except Exception:  # an error of the server itself ends this session, not the others
            LOG.exception("A session failed")
            self.counters.failed += 1
            await socket.close(1011, "internal error")
        finally:
            for task in tasks:
                task.cancel()
            call.end()
            self._calls.discard(call)
            self._ending.add(call)
            self.counters.sessions -= 1

    def _call(self, socket: ServerConnection) -> Call:
        """The call of a connection, by its path."""
        number, loop, request = next(self._numbers), asyncio.get_running_loop(), socket.request
        assert request is not None
        if admission.is_pcm(request):
            return PcmCall(self.system, number, loop, self.counters, admission.pcm_rates(request))
        name = f"sess_{number:06d}"
        return RealtimeCall(self.system, number, loop, self.counters, self.model, name, self._answers)

    async def _watch(self, call: Call) -> None:
        """Raises Hangup at a limit of time, where the call says so, and when the server stops."""
        start = time.perf_counter_ns()
        while True:
            await asyncio.sleep(0.1)
            now = time.perf_counter_ns()
            if call.ended is not None:
                raise call.ended
            if now - start > self.limits.minutes * 60e9:
                raise Hangup(1008, "too_long", f"a session may last {self.limits.minutes:g} minutes")
            if now - call.active_ns > self.limits.idle_s * 1e9:
                raise Hangup(1008, "idle", f"nothing was received for {self.limits.idle_s:g} s")
            if call.outgoing.blocked_s(now) > MOST_BLOCKED_S:
                raise Hangup(1008, "unread", f"nothing was read for {MOST_BLOCKED_S:g} s")
            if self._deadline_ns is not None and (now > self._deadline_ns or not call.is_replying()):
                raise Hangup(1001, "stopping", "the server is being stopped")


async def _read(socket: ServerConnection, call: Call) -> None:
    async for message in socket:
        await call.take(message)
        await asyncio.sleep(0)  # a client that sends without a pause is not the only one


async def _write(socket: ServerConnection, call: Call) -> None:
    while True:
        await socket.send(await call.outgoing.get())


async def _close(socket: ServerConnection, call: Call, why: Hangup) -> None:
    """Ends a connection: what is left for the client, e.g. an error, then the reason. One that reads neither is cut off."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(CLOSING_S / 2):
            while not call.outgoing.is_empty():
                await socket.send(await call.outgoing.get())
    try:
        async with asyncio.timeout(CLOSING_S):
            await socket.close(why.code, str(why)[:100])
    except TimeoutError:
        socket.transport.abort()


async def _first_of(*parts: Any) -> None:
    """Waits for the first of some awaitables; the others are cancelled."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def _ended_by_us(error: ConnectionClosed) -> str | None:
    """The reason for which the library has ended a connection; None: the client has."""
    if error.sent is None or (error.rcvd is not None and error.rcvd_then_sent):
        return None
    return ENDED_BY_LIBRARY.get(error.sent.code)


def _subprotocol(connection: ServerConnection, offered: Any) -> Any:
    """`realtime` where it is offered; clients that offer none are as welcome."""
    return PROTOCOL if PROTOCOL in offered else None


def _response(body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> Response:
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}
    headers |= {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_S)
    return Response(status.value, status.phrase, Headers(headers), body)
