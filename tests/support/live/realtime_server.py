"""A server of the Realtime protocol on loopback with planted delays: detects the user by level, answers with a tone.

It serves its sockets in a thread of its own; `received` holds the client's events of all connections, in order.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from tests.support.live.in_thread import running

RATE_HZ = 24_000
LOUD = 300  # of 16-bit samples, RMS


@dataclass
class Script:
    """What the server does. Delays in ms; `answer_ms` is from the detected end of speech to the first audio."""

    flat: bool = False  # the beta's dialect
    stop_ms: int = 200  # silence that ends a turn
    answer_ms: int = 300
    reply_ms: int = 400
    says: str = "The capital of France is Paris."
    hears: str = "What is the capital of France?"
    confirms: bool = True
    first: list[Any] = field(default_factory=list)  # raw messages instead of the session's events
    during: dict[str, Any] = field(default_factory=dict)  # one more event, sent in the midst of a reply
    status: str = "completed"
    key: str | None = None
    closes_after: int | None = None  # messages of the client, after which it ends the connection
    closes_only: int | None = None  # the number of the connection, from 0, that is ended; None: all


class RealtimeServer:
    """Serves one script."""

    url: str  # the address

    def __init__(self, script: Script) -> None:
        self.script, self.received = script, []
        self.opened = self.open = self.most_open = 0  # connections: in all, now, and at once at most

    async def serve(self, ready: Callable[[str], None]) -> None:
        async with serve(self._talk, "127.0.0.1", 0, process_request=self._admit, max_size=1 << 24) as server:
            ready(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            await asyncio.Event().wait()

    def _admit(self, connection: Any, request: Any) -> Any:
        key = self.script.key
        if key is not None and request.headers.get("Authorization") != f"Bearer {key}":
            return connection.respond(401, "no\n")
        return None

    async def _talk(self, socket: Any) -> None:
        number, self.opened, self.open = self.opened, self.opened + 1, self.open + 1
        self.most_open = max(self.most_open, self.open)
        try:
            with contextlib.suppress(ConnectionClosed):
                await ServedCall(self, socket, number).run()
        finally:
            self.open -= 1


class ServedCall:
    """One connection."""

    def __init__(self, server: RealtimeServer, socket: Any, number: int) -> None:
        self.server, self.script, self.socket = server, server.script, socket
        self.closes = self.script.closes_only in (None, number)
        self.quiet_ms, self.speaking, self.numbers = 0.0, False, itertools.count()
        self.reply: asyncio.Task[None] | None = None
        self.first = True

    async def send(self, kind: str, **fields: Any) -> None:
        if self.script.flat:
            for name in ("audio_transcript", "audio", "text"):
                kind = kind.replace(f"response.output_{name}.", f"response.{name}.")
        await self.socket.send(json.dumps({"type": kind, "event_id": f"e{next(self.numbers)}", **fields}))

    async def run(self) -> None:
        if self.script.first:
            for message in self.script.first:
                await self.socket.send(message if isinstance(message, str | bytes) else json.dumps(message))
            await asyncio.wait_for(self.socket.wait_closed(), 30)
        flat = {"modalities": ["text", "audio"], "input_audio_format": "pcm16"}
        nested = {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcm", "rate": RATE_HZ}}}}
        await self.send("session.created", session=flat if self.script.flat else nested)
        for count in itertools.count(1):
            event = json.loads(await self.socket.recv())
            self.server.received.append(event)
            if event["type"] == "session.update" and self.script.confirms:
                await self.send("session.updated", session=event["session"])
            elif event["type"] == "input_audio_buffer.append":
                await self.hear(np.frombuffer(base64.b64decode(event["audio"]), "<i2"))
            elif event["type"] == "response.create":
                await self.write()
            if self.closes and count == self.script.closes_after:
                await self.socket.close(1011, "out of service")
                return

    async def hear(self, samples: Any) -> None:
        loud = np.sqrt(np.mean(samples.astype(float) ** 2)) > LOUD
        self.quiet_ms = 0.0 if loud else self.quiet_ms + 1e3 * len(samples) / RATE_HZ
        if loud and not self.speaking:
            self.speaking = True
            await self.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")
            if self.reply is not None:
                self.reply.cancel()
                self.reply = None
        elif self.speaking and self.quiet_ms >= self.script.stop_ms:
            self.speaking = False
            await self.send("input_audio_buffer.speech_stopped", audio_end_ms=0, item_id="u")
            self.reply = asyncio.create_task(self.answer())

    async def answer(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            await self.speak()

    async def speak(self) -> None:
        script, ids = (
            self.script,
            {"response_id": f"reply{'' if self.first else next(self.numbers)}", "item_id": f"i{next(self.numbers)}"},
        )
        self.first = False
        await self.send("response.created", response={"id": ids["response_id"], "status": "in_progress"})
        await self.send("conversation.item.input_audio_transcription.completed", item_id="u", transcript=script.hears)
        await asyncio.sleep(script.answer_ms / 1000)
        await self.send("response.output_audio_transcript.delta", **ids, delta=script.says)
        wave = np.round(8000 * np.cos(np.arange(script.reply_ms * RATE_HZ // 1000) * 0.09)).astype("<i2").tobytes()
        for start in range(0, len(wave), 4801):  # odd pieces: samples are cut in two
            await self.send(
                "response.output_audio.delta",
                **ids,
                content_index=0,
                delta=base64.b64encode(wave[start : start + 4801]).decode(),
            )
            if start == 0 and script.during:
                await self.socket.send(json.dumps(script.during))
        await self.send("response.output_audio.done", **ids)
        await self.done(ids["response_id"])

    async def write(self) -> None:
        ids = {"response_id": f"r{next(self.numbers)}"}
        await self.send("response.created", response={"id": ids["response_id"]})
        for word in self.script.says.split(" "):
            await self.send("response.output_text.delta", **ids, delta=word + " ")
        await self.done(ids["response_id"])

    async def done(self, name: str) -> None:
        usage = {"total_tokens": 7, "input_tokens": 3, "output_tokens": 4}
        details = {"error": {"type": "server_error", "code": "overloaded"}} if self.script.status == "failed" else None
        response = {"id": name, "status": self.script.status, "status_details": details, "usage": usage}
        await self.send("response.done", response=response)


@contextlib.contextmanager
def serving(**script: Any) -> Iterator[RealtimeServer]:
    server = RealtimeServer(Script(**script))
    with running(server.serve) as server.url:
        yield server
