"""A server of the OpenAI Realtime protocol as a system: its spoken conversations, and its answers by text."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from fobench.api.live import LiveCall, LiveSystem
from fobench.api.option_ranges import Between
from fobench.api.secret import secret
from fobench.api.types import Event, EventKind, Message
from fobench.audio.wire_format import TELEPHONE_HZ, AudioFormat, FormatName
from fobench.errors import FobenchError, SystemFailure
from fobench_plugins.systems.realtime import connection
from fobench_plugins.systems.realtime.connection import KeyHeader
from fobench_plugins.systems.realtime.conversation import Conversation, confirmed, first_event
from fobench_plugins.systems.realtime.dialects import SessionRequest, TurnDetection, ga_name, is_flat

PATH = "/v1/realtime"
FIRST_S = 15.0  # time for a server's first event
ANSWER_S = 120.0  # time for an answer by text
CHUNKS_PER_S = 50  # 20 ms of audio each

Rate = Annotated[int, Between(8_000, 48_000)]


class RealtimeSystem(LiveSystem):
    """A server at `url`. Each conversation, and each answer by text, has a connection of its own."""

    def __init__(self, url: str, request: SessionRequest, api_key_env: str | None, header: KeyHeader) -> None:
        self._url, self._request, self._variable, self._header = url, request, api_key_env, header
        self._secret = secret(api_key_env)
        self.input_rate_hz, self.output_rate_hz = request.input.rate_hz, request.output.rate_hz
        self.chunk = self.input_rate_hz // CHUNKS_PER_S
        self._flat: bool | None = None  # whether the server has the beta's dialect; None: not met yet
        self._round_trip_ms: float | None = None

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record; the key is no part of it."""
        dialect = None if self._flat is None else "beta" if self._flat else "GA"
        return {
            "server": connection.public(self._url),
            "dialect": dialect,
            "round_trip_ms": self._round_trip_ms,
            "turn_detection": self._request.turn_detection,
            "audio": {"input": self._request.input.to_json(), "output": self._request.output.to_json()},
        }

    async def converse(self, call: LiveCall) -> None:
        async with connection.connect(self._url, self._secret, self._header) as socket:
            self._round_trip_ms = round_trip_ms = await connection.round_trip_ms(socket)
            events = connection.receive(socket)
            conversation = Conversation(self._request, call, lambda event: connection.send(socket, event))
            await conversation.configure(await first_event(events, FIRST_S))
            self._flat = conversation.flat
            listening = asyncio.create_task(_listen(events, conversation))
            speaking = asyncio.create_task(self._speak(call, conversation, round_trip_ms))
            try:
                done, _ = await asyncio.wait({listening, speaking}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in (listening, speaking):
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError, SystemFailure):
                        await task

    async def _speak(self, call: LiveCall, conversation: Conversation, round_trip_ms: float | None) -> None:
        """Sends the microphone's audio until it ends."""
        await confirmed(conversation)
        if round_trip_ms is not None:
            call.emit(Event(EventKind.BUSY, {"work": "round_trip", "ms": round_trip_ms}))
        async for chunk in call.microphone():
            audio = self._request.input.encode(chunk.samples)
            await conversation.send({"type": "input_audio_buffer.append", "audio": audio})

    def answer(self, history: Sequence[Message], seed: int) -> str:
        """The reply to a conversation in text, by a session of the same kind without audio.

        Raises SystemFailure where the server fails, or gives no text.
        """
        try:
            return asyncio.run(asyncio.wait_for(self._answer(history), ANSWER_S))
        except TimeoutError as error:
            raise SystemFailure("hung", f"no answer by text within {ANSWER_S:.0f} s") from error

    async def _answer(self, history: Sequence[Message]) -> str:
        request = replace(self._request, text_only=True, transcription=None)
        async with connection.connect(self._url, self._secret, self._header) as socket:
            events = connection.receive(socket)
            created = await first_event(events, FIRST_S)
            session = created.get("session")
            flat = isinstance(session, Mapping) and is_flat(session)
            await connection.send(socket, {"type": "session.update", "session": request.to_json(flat)})
            for message in history:
                await connection.send(socket, {"type": "conversation.item.create", "item": _item(message, flat)})
            modality = {"modalities" if flat else "output_modalities": ["text"]}
            await connection.send(socket, {"type": "response.create", "response": modality})
            return await _reply_text(events)


async def _listen(events: AsyncIterator[dict[str, Any]], conversation: Conversation) -> None:
    async for event in events:
        await conversation.take(event)


async def _reply_text(events: AsyncIterator[dict[str, Any]]) -> str:
    """The text of the response that follows. Raises SystemFailure where there is none."""
    pieces: list[str] = []
    async for event in events:
        kind = ga_name(event["type"])
        if kind in ("response.output_text.delta", "response.output_audio_transcript.delta"):
            pieces.append(str(event.get("delta", "")))
        elif kind == "error":
            raise SystemFailure("bad_answer", f"the server refuses to answer by text: {event.get('error')!s:.300}")
        elif kind == "response.done":
            response = event.get("response")
            response = response if isinstance(response, Mapping) else {}
            if response.get("status") == "failed":
                raise SystemFailure("bad_answer", f"the answer by text failed: {response.get('status_details')!s:.300}")
            return "".join(pieces) or _output_text(response)
    raise SystemFailure("died", "the server ended the connection before its answer")


def _output_text(response: Mapping[str, Any]) -> str:
    """The text in a response's output, for servers that send it as a whole. Raises SystemFailure where there is none."""
    parts = [
        part.get("text") or part.get("transcript") or ""
        for item in response.get("output") or ()
        if isinstance(item, Mapping)
        for part in item.get("content") or ()
        if isinstance(part, Mapping)
    ]
    if text := "".join(map(str, parts)):
        return text
    raise SystemFailure("bad_answer", "the server's answer holds no text: it may speak only (--no-text-routes)")


def _item(message: Message, flat: bool) -> dict[str, Any]:
    """A message of the history as an item of the conversation."""
    kind = "input_text" if message["role"] != "assistant" else "text" if flat else "output_text"
    content = [{"type": kind, "text": message["content"]}]
    return {"type": "message", "role": message["role"], "content": content}


def realtime(
    url: str,
    *,
    model: str | None = None,
    api_key_env: str | None = None,
    key_header: KeyHeader = "bearer",
    audio: FormatName = "pcm16",
    rate_hz: Rate = 24_000,
    output_rate_hz: Rate = 24_000,
    turn_detection: TurnDetection = "server_vad",
    instructions: str | None = None,
    voice: str | None = None,
    transcription: str | None = None,
) -> RealtimeSystem:
    """A live server of the OpenAI Realtime protocol, GA or beta, at ws://host:port or wss://host/path.

    `model`: the query's. `api_key_env`: the environment variable that holds the key, sent as `key_header`. `audio`: pcm16 at
    `rate_hz` and `output_rate_hz`, or G.711 at 8 kHz. `turn_detection`: the server's. `instructions`, `voice` and
    `transcription` (the model that transcribes the user) are sent where given; else the server's own apply.
    """
    if turn_detection == "none":
        raise FobenchError(
            "turn_detection=none needs a client that knows when the user has finished: give server_vad or semantic_vad."
        )
    if audio != "pcm16":
        rate_hz = output_rate_hz = TELEPHONE_HZ
    if rate_hz % CHUNKS_PER_S:
        raise FobenchError(
            f"rate_hz={rate_hz} is no whole number of samples per 20 ms: give 8000, 16000, 24000 or 48000."
        )
    request = SessionRequest(
        AudioFormat(audio, rate_hz),
        AudioFormat(audio, output_rate_hz),
        turn_detection,
        instructions,
        voice,
        transcription,
    )
    query = {"model": model} if model else {}
    return RealtimeSystem(connection.address(url, PATH, query), request, api_key_env, key_header)
