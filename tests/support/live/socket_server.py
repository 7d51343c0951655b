"""A WebSocket server on loopback that follows a script, in a thread of its own."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from tests.support.live.in_thread import running

RATE_HZ = 24_000
GA_SESSION = {
    "type": "realtime",
    "model": "scripted-1",
    "audio": {"input": {"format": {"type": "audio/pcm", "rate": RATE_HZ}}},
}


class Socket:
    """A connection, as a script sees it: JSON both ways. `received` holds the client's messages of all connections."""

    def __init__(self, raw: Any, received: list[Any]) -> None:
        self.raw, self.received = raw, received

    async def send(self, kind: str = "", /, **fields: Any) -> None:
        await self.raw.send(json.dumps({"type": kind, **fields} if kind else fields))

    async def next(self, *kinds: str) -> Any:
        """The client's next message, of one of these types where they are given."""
        while True:
            event = json.loads(await self.raw.recv())
            self.received.append(event)
            if not kinds or event.get("type") in kinds:
                return event

    async def greet(self, session: dict[str, Any] = GA_SESSION, confirmed: dict[str, Any] | None = None) -> Any:
        """Opens a session, and confirms the client's configuration, or says `confirmed`; returns the configuration."""
        await self.send("session.created", session=session)
        asked = (await self.next("session.update"))["session"]
        await self.send("session.updated", session=confirmed or asked)
        return asked

    async def question(self, ms: int = 620) -> None:
        """Takes the client's audio (20 ms each) until its question is over."""
        for _ in range(ms // 20):
            await self.next("input_audio_buffer.append")

    async def begin_reply(self, pieces: int = 1, name: str = "r0") -> None:
        """A response with `pieces` of audio, 100 ms each, and its text; without its end."""
        await self.send("response.created", response={"id": name, "status": "in_progress"})
        await self.send("response.output_audio_transcript.delta", response_id=name, item_id="i0", delta="Paris.")
        for _ in range(pieces):
            await self.audio(tone(100), name)

    async def audio(
        self, data: bytes | str, name: str = "r0", kind: str = "response.output_audio.delta", **more: Any
    ) -> None:
        text = data if isinstance(data, str) else base64.b64encode(data).decode()
        await self.send(kind, response_id=name, item_id="i0", content_index=0, delta=text, **more)

    async def end_reply(self, status: str = "completed", name: str = "r0", **more: Any) -> None:
        await self.send("response.done", response={"id": name, "status": status, **more})

    async def listen(self) -> None:
        """Takes what the client sends until it leaves."""
        while True:
            await self.next()


def tone(ms: int, rate_hz: int = RATE_HZ) -> bytes:
    return np.round(8000 * np.cos(np.arange(ms * rate_hz // 1000) * 0.09)).astype("<i2").tobytes()


Script = Callable[[Socket], Awaitable[None]]


@contextlib.contextmanager
def following(
    script: Script, admit: Any = None, context: ssl.SSLContext | None = None
) -> Iterator[tuple[str, list[Any]]]:
    """(address, the client's messages) of a server that runs `script` for each connection.

    `admit`: of the connection and the request, answers it where it returns something.
    """
    received: list[Any] = []

    async def talk(raw: Any) -> None:
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            await script(Socket(raw, received))

    async def run(ready: Callable[[str], None]) -> None:
        async with serve(talk, "127.0.0.1", 0, process_request=admit, ssl=context, max_size=None) as server:
            ready(f"ws{'s' if context else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            await asyncio.Event().wait()

    with running(run) as url:
        yield url, received


def self_signed(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS context with a certificate that no authority has signed, and the certificate's file."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    try:
        subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed: a certificate cannot be made")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate
