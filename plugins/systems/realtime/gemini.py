"""`gemini:MODEL`: the Live API of Gemini, by its documented WebSocket messages. It was never run against the real service.

The first message sets a session up; then audio goes out in pieces, and what comes back is content: audio, both transcripts, and the
signs that the model has finished, or that the user has interrupted it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal

from fobench.api.live import LiveCall, LiveSystem
from fobench.api.secret import secret
from fobench.api.types import Action, AudioChunk, Event, EventKind
from fobench.audio.wire_format import AudioFormat
from fobench.errors import SystemFailure
from fobench_plugins.systems.realtime import connection

URL = "wss://generativelanguage.googleapis.com"
PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
HEARD, SPOKEN = AudioFormat("pcm16", 16_000), AudioFormat("pcm16", 24_000)
SETUP_S = 15.0  # time for the server to accept the session

Content = Mapping[str, Any]


class GeminiSystem(LiveSystem):
    """A model of the service. Each conversation has a connection of its own. It has no route by text."""

    input_rate_hz, output_rate_hz, chunk = HEARD.rate_hz, SPOKEN.rate_hz, HEARD.rate_hz // connection.CHUNKS_PER_S

    def __init__(self, url: str, key: str | None, setup: dict[str, Any]) -> None:
        self._url, self._key, self._setup = url, key, setup

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record; the key is no part of it."""
        return {"server": connection.public(self._url), "model": self._setup["model"], "protocol": "Gemini Live"}

    async def converse(self, call: LiveCall) -> None:
        url = connection.address(self._url, PATH, {"key": self._key} if self._key else {})
        async with connection.connect(url) as socket:
            await connection.send(socket, {"setup": self._setup})
            messages = connection.objects(socket)
            await _set_up(messages)
            await connection.until_one_ends(
                _listen(messages, GeminiReplies(call, self._setup["model"])), self._speak(socket, call)
            )

    async def _speak(self, socket: Any, call: LiveCall) -> None:
        kind = f"audio/pcm;rate={HEARD.rate_hz}"
        async for chunk in call.microphone():
            audio = {"data": HEARD.encode(chunk.samples), "mimeType": kind}
            await connection.send(socket, {"realtimeInput": {"audio": audio}})


async def _set_up(messages: AsyncIterator[dict[str, Any]]) -> None:
    """Waits until the session stands. Raises SystemFailure where the server is silent, or answers something else."""
    try:
        first = await asyncio.wait_for(anext(messages), SETUP_S)
    except TimeoutError as error:
        raise SystemFailure("hung", f"the server has not accepted the setup within {SETUP_S:g} s") from error
    if "setupComplete" not in first:
        raise SystemFailure("bad_event", f"the server answers the setup with {', '.join(map(repr, first))[:200]}")


async def _listen(messages: AsyncIterator[dict[str, Any]], replies: GeminiReplies) -> None:
    async for message in messages:
        replies.take(message)


class GeminiReplies:
    """Makes events of the server's messages: a turn of the model is a reply."""

    def __init__(self, call: LiveCall, model: str) -> None:
        self._call, self._model = call, model
        self._turn: Literal["none", "open", "generated"] = "none"  # the model's turn, until its turnComplete
        self._number, self._dropped, self._rest, self._samples = -1, False, b"", 0
        self._heard: list[str] = []

    def take(self, message: Content) -> None:
        """Handles one message; what has no meaning here is passed over. Raises SystemFailure for what ends the session."""
        if isinstance(usage := message.get("usageMetadata"), Mapping):
            self._call.emit(
                Event(EventKind.BUSY, {"work": "usage", "usage": _usage(usage), "model": self._model.partition("/")[2]})
            )
        if "goAway" in message:
            left = _table(message, "goAway").get("timeLeft")
            self._call.emit(
                Event(EventKind.BUSY, {"work": "go_away", "text": f"the server will hang up in {left!s:.20}"})
            )
        content = _table(message, "serverContent")
        if text := _table(content, "inputTranscription").get("text"):
            self._heard.append(str(text))
        self._model_turn(content)
        if content.get("interrupted"):
            self._interrupted()
        if content.get("generationComplete") or content.get("turnComplete"):
            self._generated()
        if content.get("turnComplete"):
            self._turn, self._dropped, self._rest = "none", False, b""
            self._tell_heard()

    def _model_turn(self, content: Content) -> None:
        said = _table(content, "outputTranscription").get("text")
        parts = _table(content, "modelTurn").get("parts")
        parts = [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, Sequence) else []
        if self._dropped or not (said or parts):
            return
        for part in parts:
            data = _table(part, "inlineData")
            if str(data.get("mimeType", "")).startswith("audio/"):
                self._audio(data)
        if said:
            self._begin()
            self._call.emit(Event(EventKind.TOKEN, {"text": str(said), "reply": self._number}))

    def _audio(self, data: Content) -> None:
        kind = str(data.get("mimeType"))
        rate = kind.partition("rate=")[2]
        if rate and rate != str(SPOKEN.rate_hz):
            raise SystemFailure("bad_audio", f"the server sends audio of {kind:.60}, not at {SPOKEN.rate_hz} Hz")
        samples, self._rest = SPOKEN.decode(data.get("data"), self._rest)
        self._samples += len(samples)
        connection.check_length(self._samples, SPOKEN.rate_hz)
        if len(samples):
            self._begin()
            if self._turn == "generated":
                raise SystemFailure("bad_event", "the server sends audio after its generationComplete")
            audio = AudioChunk(samples, SPOKEN.rate_hz)
            self._call.emit(Event(EventKind.AUDIO, {"audio": audio, "reply": self._number}))

    def _begin(self) -> None:
        """A turn of the model begins, where none has; what the user has said until then is the user's turn."""
        if self._turn == "none":
            self._tell_heard()
            self._turn, self._number = "open", self._number + 1
            self._call.emit(Event(EventKind.DECISION, {"action": Action.SPEAK}))

    def _tell_heard(self) -> None:
        if self._heard:
            self._call.emit(Event(EventKind.TRANSCRIPT, {"text": "".join(self._heard).strip()}))
            self._heard.clear()

    def _interrupted(self) -> None:
        """The user has spoken over the reply: what is not played is dropped, also of a reply that is complete."""
        if self._number >= 0 and not self._dropped:
            self._dropped, self._rest = self._turn != "none", b""
            self._call.emit(Event(EventKind.DECISION, {"action": Action.YIELD}))

    def _generated(self) -> None:
        """All audio of the turn is there; its transcript may still come."""
        if self._turn == "open":
            self._turn = "generated"
            self._call.emit(Event(EventKind.REPLY_END, {"reply": self._number}))


def _usage(usage: Content) -> dict[str, Any]:
    """The service's usage in the form of the Realtime protocol, as the metrics of costs read it."""
    found: dict[str, Any] = {}
    for side, sum_, parts in (
        ("input", "promptTokenCount", "promptTokensDetails"),
        ("output", "responseTokenCount", "responseTokensDetails"),
    ):
        given = usage.get(parts)
        kinds = given if isinstance(given, list) else []
        tokens = {
            f"{str(part.get('modality')).lower()}_tokens": part.get("tokenCount")
            for part in kinds
            if isinstance(part, Mapping)
        }
        found |= {f"{side}_tokens": usage.get(sum_, 0), f"{side}_token_details": tokens}
    return found


def _table(parent: Content, key: str) -> Content:
    value = parent.get(key)
    return value if isinstance(value, Mapping) else {}


def gemini(
    model: str,
    *,
    url: str = URL,
    api_key_env: str | None = None,
    instructions: str | None = None,
    voice: str | None = None,
) -> GeminiSystem:
    """A model of Gemini's Live API, by its documented messages; it was never run against the real service.

    `api_key_env`: the environment variable that holds the key. `instructions` and `voice` are sent where given. The service detects the
    user's turns by itself. It has no route by text here: give --no-text-routes.
    """
    spoken: dict[str, Any] = {"responseModalities": ["AUDIO"]}
    if voice:
        spoken["speechConfig"] = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": voice}}}
    name = model if "/" in model else f"models/{model}"
    setup: dict[str, Any] = {"model": name, "generationConfig": spoken}
    setup |= {"inputAudioTranscription": {}, "outputAudioTranscription": {}}
    if instructions:
        setup["systemInstruction"] = {"parts": [{"text": instructions}]}
    connection.address(url, PATH, {})  # a wrong one is told now
    return GeminiSystem(url, secret(api_key_env), setup)
