"""One spoken conversation over the Realtime protocol: the server's events become those of fobench, playback is reported back."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fobench.api.live import LiveCall
from fobench.api.types import Action, AudioChunk, Event, EventKind
from fobench.errors import SystemFailure
from fobench_plugins.systems.realtime.dialects import SessionRequest, ga_name, is_flat, wrong_rates

UPDATE_S = 3.0  # a server that has not confirmed its configuration by then is taken to have none to confirm
ACTIVE = "conversation_already_has_active_response"
MESSAGE = 300  # characters of a server's message that are kept

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
ServerEvent = Mapping[str, Any]


@dataclass(slots=True)
class SpokenReply:
    """A response of the server that has begun: its number in the trace, and what came of it."""

    number: int
    item: str = ""  # the message that holds its audio
    content: int = 0
    samples: int = 0
    rest: bytes = b""  # an odd byte of PCM that waits for its other half
    dropped: bool = False  # the user interrupted it: what still comes is not played
    done: bool = False


@dataclass(slots=True)
class Conversation:
    """Maps the events of one connection. `send` sends an event to the server."""

    request: SessionRequest
    call: LiveCall
    send: Send
    flat: bool = False
    configured: asyncio.Event = field(default_factory=asyncio.Event)
    _replies: dict[str, SpokenReply] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=itertools.count)
    _ours: set[str] = field(default_factory=set)  # events of ours that a server may refuse without harm
    _truncated: dict[str, int] = field(default_factory=dict)
    _usage: int = 0

    async def configure(self, created: ServerEvent) -> None:
        """Sends the configuration in the dialect of the server's first event."""
        session = created.get("session")
        self.flat = isinstance(session, Mapping) and is_flat(session)
        await self.send({"type": "session.update", "session": self.request.to_json(self.flat)})

    async def take(self, event: ServerEvent) -> None:
        """Handles one event of the server. Those of no meaning here, and unknown ones, are passed over."""
        kind = ga_name(event["type"])
        if kind == "session.created" or (kind == "conversation.created" and not self.configured.is_set()):
            return
        if kind == "session.updated":
            self._confirmed(event)
        elif kind == "error":
            self._refused(event)
        elif kind.startswith("input_audio_buffer.speech_"):
            await self._speech(kind)
        elif kind.startswith("conversation.item.input_audio_transcription."):
            self._transcript(kind, event)
        elif kind.startswith("response."):
            self._response(kind, event)

    # ---- the user's side -----------------------------------------------------------------------------------------------

    async def _speech(self, kind: str) -> None:
        if kind.endswith("speech_stopped"):
            self.call.emit(Event(EventKind.SPEECH_END))
        elif kind.endswith("speech_started"):
            self.call.emit(Event(EventKind.SPEECH_START))
            await self._interrupt()

    def _transcript(self, kind: str, event: ServerEvent) -> None:
        if kind.endswith(".completed"):
            self.call.emit(Event(EventKind.TRANSCRIPT, {"text": _text(event, "transcript").strip()}))
        elif kind.endswith(".failed"):
            self._note("transcription_failed", event.get("error"))

    async def _interrupt(self) -> None:
        """Stops playback where a reply is generated or audible, as a client has to, and tells the server what was heard."""
        if not self._replies:
            return
        reply = list(self._replies.values())[-1]
        heard = self._heard(reply)
        if reply.dropped or (reply.done and heard >= reply.samples) or not (reply.samples or not reply.done):
            return
        reply.dropped = True
        self.call.emit(Event(EventKind.DECISION, {"action": Action.YIELD}))
        if reply.item:
            name = f"fobench_{next(self._ids)}"
            self._ours.add(name)
            position = {"item_id": reply.item, "content_index": reply.content}
            heard_ms = 1000 * heard // self.request.output.rate_hz
            await self.send(
                {"type": "conversation.item.truncate", "event_id": name, **position, "audio_end_ms": heard_ms}
            )

    def _heard(self, reply: SpokenReply) -> int:
        number, samples = self.call.heard or (-1, 0)
        return samples if number == reply.number else reply.samples if number > reply.number else 0

    # ---- the server's side ---------------------------------------------------------------------------------------------

    def _response(self, kind: str, event: ServerEvent) -> None:
        if kind == "response.created":
            self._begin(_inner(event, "response"))
            return
        reply = self._replies.get(_id(event))
        if kind == "response.done":
            self._end(_inner(event, "response"))
        elif reply is None or reply.dropped or reply.done:
            return
        elif kind == "response.output_audio.delta":
            self._audio(reply, event)
        elif kind in ("response.output_audio_transcript.delta", "response.output_text.delta"):
            self.call.emit(Event(EventKind.TOKEN, {"text": _text(event, "delta"), "reply": reply.number}))

    def _begin(self, response: ServerEvent) -> None:
        name = str(response.get("id", ""))
        if name not in self._replies:
            self._replies[name] = SpokenReply(len(self._replies))
            self.call.emit(Event(EventKind.DECISION, {"action": Action.SPEAK}))

    def _audio(self, reply: SpokenReply, event: ServerEvent) -> None:
        samples, reply.rest = self.request.output.decode(event.get("delta"), reply.rest)
        reply.item, reply.content = str(event.get("item_id") or reply.item), _index(event.get("content_index"))
        if len(samples):
            audio = AudioChunk(samples, self.request.output.rate_hz, reply.samples)
            reply.samples += len(samples)
            self.call.emit(Event(EventKind.AUDIO, {"audio": audio, "reply": reply.number}))

    def _end(self, response: ServerEvent) -> None:
        """The end of a response. Raises SystemFailure where it failed."""
        reply = self._replies.get(str(response.get("id", "")))
        if isinstance(usage := response.get("usage"), Mapping):
            self.call.emit(Event(EventKind.BUSY, {"work": "usage", "usage": dict(usage)}))
        if reply is not None and not reply.done:
            reply.done = True
            self.call.emit(Event(EventKind.REPLY_END, {"reply": reply.number}))
        if response.get("status") == "failed":
            details = response.get("status_details")
            raise SystemFailure(
                "raised", f"the server's response failed: {_error(_inner(details, 'error') or details)}"
            )

    # ---- the session ---------------------------------------------------------------------------------------------------

    def _confirmed(self, event: ServerEvent) -> None:
        if wrong := wrong_rates(_inner(event, "session"), self.request):
            raise SystemFailure("bad_audio", f"the server has audio of other rates: {wrong}")
        self.configured.set()

    def _refused(self, event: ServerEvent) -> None:
        """An error event. It fails the conversation, except where it answers what may come too late: a truncation, a cancel."""
        error = _inner(event, "error") or event
        if str(error.get("event_id")) in self._ours or error.get("code") == ACTIVE:
            self._note("server_error", error)
            return
        what = "the server reports an error" if self.configured.is_set() else "the server refuses the session"
        raise SystemFailure("raised", f"{what}: {_error(error)}")

    def _note(self, work: str, what: Any) -> None:
        self.call.emit(Event(EventKind.BUSY, {"work": work, "text": _error(what)}))


async def first_event(events: Any, limit_s: float) -> ServerEvent:
    """The first event of a connection. Raises SystemFailure (`hung`) where none comes within the limit."""
    try:
        event: ServerEvent = await asyncio.wait_for(anext(events), limit_s)
    except TimeoutError as error:
        raise SystemFailure(
            "hung", f"the server has accepted the connection and sent nothing for {limit_s:.0f} s"
        ) from error
    return event


async def confirmed(conversation: Conversation) -> None:
    """Waits until the server has confirmed the session, or has had `UPDATE_S` to refuse it: some never confirm."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(conversation.configured.wait(), UPDATE_S)
    conversation.configured.set()


def _inner(event: Any, key: str) -> Mapping[str, Any]:
    value = event.get(key) if isinstance(event, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _id(event: ServerEvent) -> str:
    return str(event.get("response_id") or _inner(event, "response").get("id") or "")


def _text(event: ServerEvent, key: str) -> str:
    value = event.get(key)
    return value if isinstance(value, str) else ""


def _index(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _error(error: Any) -> str:
    if not isinstance(error, Mapping):
        return str(error)[:MESSAGE]
    parts = [str(error[key]) for key in ("type", "code", "message") if error.get(key)]
    return (", ".join(parts) or "without a message")[:MESSAGE]
