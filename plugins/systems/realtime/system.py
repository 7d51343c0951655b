"""A server of the OpenAI Realtime protocol as a system: its spoken conversations, and its answers by text."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fobench import outside_files
from fobench.api.live import LiveCall, LiveSystem
from fobench.api.option_ranges import Between
from fobench.api.secret import secret
from fobench.api.types import Event, EventKind, Message
from fobench.audio.wire_format import TELEPHONE_HZ, AudioFormat, FormatName
from fobench.errors import FobenchError, SystemFailure
from fobench_plugins.systems.realtime import connection
from fobench_plugins.systems.realtime.client_turns import ClientTurns, VadName, detectors
from fobench_plugins.systems.realtime.connection import CHUNKS_PER_S, KeyHeader
from fobench_plugins.systems.realtime.conversation import Conversation, SessionsInUse, confirmed, first_event
from fobench_plugins.systems.realtime.dialects import Dialect, SessionRequest, TurnDetection, dialect_of, ga_name
from reference_model.turn_taking.speech_activity import VoiceActivityDetector

PATH = "/v1/realtime"
FIRST_S = 15.0  # time for a server's first event
ANSWER_S = 120.0  # time for an answer by text
BUSY_S = 0.5  # between two attempts where all sessions of the server are in use
T = TypeVar("T")

Rate = Annotated[int, Between(8_000, 48_000)]
Silence = Annotated[int, Between(32, 10_000)]  # ms


class RealtimeSystem(LiveSystem):
    """A server at `url`. Each conversation, and each answer by text, has a connection of its own.

    `detector`: makes the voice activity detector of a client that ends the user's turns itself, after `silence_ms`.
    """

    def __init__(
        self,
        url: str,
        request: SessionRequest,
        api_key_env: str | None,
        header: KeyHeader,
        detector: Callable[[], VoiceActivityDetector] | None,
        silence_ms: int,
    ) -> None:
        self._detector, self._silence_ms = detector, silence_ms
        self._url, self._request, self._variable, self._header = url, request, api_key_env, header
        self._secret = secret(api_key_env)
        self.input_rate_hz, self.output_rate_hz = request.input.rate_hz, request.output.rate_hz
        self.chunk = self.input_rate_hz // CHUNKS_PER_S
        self._dialect: Dialect | None = None  # None: not met yet
        self._duplex = connection.asks_for(url, "duplex")
        self._round_trip_ms: float | None = None

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record; the key is no part of it."""
        return {
            "server": connection.public(self._url),
            "dialect": self._dialect and self._dialect.shape,
            "round_trip_ms": self._round_trip_ms,
            "turn_detection": self._request.turn_detection,
            **({"silence_ms": self._silence_ms} if self._detector else {}),
            "audio": {"input": self._request.input.to_json(), "output": self._request.output.to_json()},
        }

    async def converse(self, call: LiveCall) -> None:
        await _patiently(lambda: self._converse(call))

    async def _converse(self, call: LiveCall) -> None:
        async with connection.connect(self._url, self._secret, self._header) as socket:
            self._round_trip_ms = round_trip_ms = await connection.round_trip_ms(socket)
            events = connection.receive(socket)
            conversation = Conversation(self._request, call, lambda event: connection.send(socket, event))
            await conversation.begin(events, FIRST_S, self._duplex)
            self._dialect = conversation.dialect
            try:
                await connection.until_one_ends(
                    _listen(events, conversation), self._speak(call, conversation, round_trip_ms)
                )
            finally:
                with contextlib.suppress(SystemFailure):
                    await conversation.leave()

    async def _speak(self, call: LiveCall, conversation: Conversation, round_trip_ms: float | None) -> None:
        """Sends the microphone's audio until it ends."""
        await confirmed(conversation)
        if round_trip_ms is not None:
            call.emit(Event(EventKind.BUSY, {"work": "round_trip", "ms": round_trip_ms}))
        form = self._request.input
        turns = self._detector and ClientTurns(conversation, call, self._detector(), form, self._silence_ms)
        async for chunk in call.microphone():
            if turns:
                await turns.push(chunk)
            else:
                await conversation.append(form.encode(chunk.samples))

    def answer(self, history: Sequence[Message], seed: int) -> str:
        """The reply to a conversation in text, by a session of the same kind without audio.

        Raises SystemFailure where the server fails, or gives no text.
        """
        if self._duplex:
            raise SystemFailure("bad_answer", "full duplex (duplex=1) has no answers by text: give --no-text-routes")
        try:
            return asyncio.run(asyncio.wait_for(_patiently(lambda: self._answer(history)), ANSWER_S))
        except TimeoutError as error:
            raise SystemFailure("hung", f"no answer by text within {ANSWER_S:.0f} s") from error

    async def _answer(self, history: Sequence[Message]) -> str:
        request = replace(self._request, text_only=True, transcription=None)
        async with connection.connect(self._url, self._secret, self._header) as socket:
            events = connection.receive(socket)
            dialect = dialect_of(await first_event(events, FIRST_S))
            flat = dialect.shape == "beta"
            await connection.send(socket, {"type": "session.update", "session": request.to_json(dialect)})
            for message in history:
                await connection.send(socket, {"type": "conversation.item.create", "item": _item(message, flat)})
            modality = {"modalities" if flat else "output_modalities": ["text"]}
            await connection.send(socket, {"type": "response.create", "response": modality})
            return await _reply_text(events)


async def _patiently(hold: Callable[[], Awaitable[T]]) -> T:
    """What `hold` gives; tried again, for a while, where all sessions of the server are in use, as its own last one may be."""
    end_s = time.monotonic() + connection.LONGEST_WAIT_S
    while True:
        try:
            return await hold()
        except SessionsInUse as error:
            if time.monotonic() >= end_s:
                message = (
                    f"{error}; also after waiting {connection.LONGEST_WAIT_S:g} s. Run fewer at a time (--workers)"
                )
                raise SystemFailure("raised", message) from error
        await asyncio.sleep(BUSY_S)


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
    silence_ms: Silence = 500,
    vad: VadName = "silero",
    session: str | None = None,
) -> RealtimeSystem:
    """A live server of the OpenAI Realtime protocol, GA or beta, at ws://host:port or wss://host/path.

    `model`: the query's. `api_key_env`: the environment variable that holds the key, sent as `key_header`. `audio`: pcm16 at
    `rate_hz` and `output_rate_hz`, or G.711 at 8 kHz. `turn_detection`: who ends the user's turns, the server (server_vad,
    semantic_vad), the model itself (model: full duplex), or the client (none): as a push-to-talk app it then sends audio while
    the user speaks by `vad` (loudness: any sound), commits it after `silence_ms`, and cancels a reply that the user interrupts.
    `instructions`, `voice` and `transcription` (the model that transcribes the user) are sent where given; else the server's
    own apply. `session`: a JSON file of further fields of the session, which are sent with the others and go before them.
    """
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
        more=_session(session) if session else {},
    )
    by_client = detectors(vad) if turn_detection == "none" else None
    query = {"model": model} if model else {}
    where = connection.address(url, PATH, query)
    return RealtimeSystem(where, request, api_key_env, key_header, by_client, silence_ms)


def _session(path: str) -> dict[str, Any]:
    """The fields in a JSON file. Raises FobenchError where it holds none."""
    try:
        fields = outside_files.read_json(Path(path))
        if not isinstance(fields, dict):
            raise ValueError(f"it must hold an object, not {type(fields).__name__}")
    except (OSError, ValueError) as error:
        raise FobenchError(f"session={path} cannot be read as JSON: {error}.") from error
    return fields
