"""`websocket:URL`: a server that takes and gives audio over a WebSocket, as voice agents have it in their tests.

The user's audio goes out in messages of 20 ms; what comes back is the reply, and signs that tell more (`framing`). Such a
stream has no ends of replies: one begins where the last has been played for a while, or was ended.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from fobench.api.live import LiveCall, LiveSystem
from fobench.api.secret import secret
from fobench.api.types import Action, AudioChunk, Event, EventKind
from fobench.errors import FobenchError
from fobench_plugins.systems.realtime import connection
from fobench_plugins.systems.realtime.connection import CHUNKS_PER_S, KeyHeader
from fobench_plugins.systems.realtime.framing import Framing, FramingName, PipecatFraming, RawFraming, RawMessage
from fobench_plugins.systems.realtime.system import Rate

REPLY_GAP_S = 1.0  # silence after a reply's playback, after which further audio is another reply


class RawSocketSystem(LiveSystem):
    """A server at `url`; it has no route by text, and tells no more than what can be heard."""

    def __init__(
        self, url: str, framing: Framing, rate_hz: int, output_rate_hz: int, key: str | None, header: KeyHeader
    ) -> None:
        self._url, self._framing, self._key, self._header = url, framing, key, header
        self.input_rate_hz, self.output_rate_hz, self.chunk = rate_hz, output_rate_hz, rate_hz // CHUNKS_PER_S

    def about(self) -> dict[str, Any]:
        audio = f"pcm16, {self.input_rate_hz} Hz in, {self.output_rate_hz} Hz out"
        return {"server": connection.public(self._url), "audio": audio}

    async def converse(self, call: LiveCall) -> None:
        async with connection.connect(self._url, self._key, self._header) as socket:
            await connection.until_one_ends(
                self._listen(socket, RawReplies(call, self.output_rate_hz)), self._speak(socket, call)
            )

    async def _speak(self, socket: Any, call: LiveCall) -> None:
        async for chunk in call.microphone():
            await connection.send(socket, self._framing.encode(chunk.samples))

    async def _listen(self, socket: Any, replies: RawReplies) -> None:
        async for message in connection.messages(socket):
            if (meaning := self._framing.decode(message)) is not None:
                replies.take(meaning)


class RawReplies:
    """Makes replies of a stream of audio."""

    def __init__(self, call: LiveCall, rate_hz: int) -> None:
        self._call, self._rate_hz = call, rate_hz
        self._number, self._end_s, self._open = -1, 0.0, False
        self._rest, self._samples = b"", 0  # an odd byte that waits for its other half; samples of all replies

    def take(self, message: RawMessage) -> None:
        """Handles one message. Raises SystemFailure where its audio is more than a conversation may have."""
        if message.kind in ("clear", "end"):
            self._rest = b""  # of a sample that nobody will hear
        if message.kind == "audio":
            self._audio(message.audio)
        elif message.kind == "user":
            self._call.emit(Event(EventKind.TRANSCRIPT, {"text": message.text}))
        elif message.kind == "assistant":
            self._begin()
            self._call.emit(Event(EventKind.TOKEN, {"text": message.text, "reply": self._number}))
        elif message.kind == "clear" and (self._open or asyncio.get_running_loop().time() < self._end_s):
            self._open, self._end_s = False, 0.0
            self._call.emit(Event(EventKind.DECISION, {"action": Action.YIELD}))
        elif self._open:  # all of the reply has come; it may still be playing
            self._open = False
            self._call.emit(Event(EventKind.REPLY_END, {"reply": self._number}))

    def _audio(self, data: bytes) -> None:
        data = self._rest + data
        whole = len(data) // 2 * 2
        samples, self._rest = np.frombuffer(data[:whole], "<i2").astype(np.float32) / 32768.0, data[whole:]
        self._samples += len(samples)
        connection.check_length(self._samples, self._rate_hz)
        if len(samples):
            self._begin()
            self._end_s = max(self._end_s, asyncio.get_running_loop().time()) + len(samples) / self._rate_hz
            audio = AudioChunk(samples, self._rate_hz)
            self._call.emit(Event(EventKind.AUDIO, {"audio": audio, "reply": self._number}))

    def _begin(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._open and now > self._end_s + REPLY_GAP_S:
            self._open = False
            self._call.emit(Event(EventKind.REPLY_END, {"reply": self._number}))
        if not self._open:
            self._open, self._number, self._end_s = True, self._number + 1, now
            self._call.emit(Event(EventKind.DECISION, {"action": Action.SPEAK}))


def websocket(
    url: str,
    *,
    framing: FramingName = "raw",
    rate_hz: Rate = 16_000,
    output_rate_hz: Rate = 16_000,
    api_key_env: str | None = None,
    key_header: KeyHeader = "bearer",
) -> RawSocketSystem:
    """A live server that takes and gives 16-bit PCM over a WebSocket, at ws://host:port/path.

    `framing`: "raw", binary messages of PCM, with {"type": "clear"}, {"type": "transcript", "role", "text"} and
    {"type": "end"} as JSON from the server; or "pipecat", the protobuf frames of Pipecat's WebSocket transport.
    `api_key_env`: the environment variable that holds its key, sent as `key_header`.
    """
    if rate_hz % CHUNKS_PER_S:
        raise FobenchError(
            f"rate_hz={rate_hz} is no whole number of samples per 20 ms: give 8000, 16000, 24000 or 48000."
        )
    form = PipecatFraming(rate_hz, output_rate_hz) if framing == "pipecat" else RawFraming()
    where = connection.address(url, "/", {})
    return RawSocketSystem(where, form, rate_hz, output_rate_hz, secret(api_key_env), key_header)
