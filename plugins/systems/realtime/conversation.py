"""One spoken conversation over the Realtime protocol: the server's events become those of fobench, playback is reported back."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fobench.api.live import LiveCall
from fobench.api.types import Action, AudioChunk, Event, EventKind
from fobench.errors import SystemFailure
from fobench_plugins.systems.realtime import connection
from fobench_plugins.systems.realtime.dialects import (
    DUPLEX,
    Dialect,
    SessionRequest,
    check_duplex,
    dialect_of,
    ga_name,
    wrong_audio,
)

UPDATE_S = 3.0  # a server that has not confirmed its configuration by then is taken to have none to confirm
ACTIVE = "conversation_already_has_active_response"
RATE_LIMITS = ("rate_limit_exceeded", "rate_limit_error", "insufficient_quota", "resource_exhausted")
NO_SESSION = ("session_limit_reached", "resource_exhausted")  # speech-to-speech, vLLM-Omni: all sessions are in use
MESSAGE = 300  # characters of a server's message that are kept
ACKNOWLEDGED_MS = 100  # of playback, between two reports of it

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
ServerEvent = Mapping[str, Any]


class SessionsInUse(SystemFailure):
    """The server has no free session now; it may have one a moment after another client has left."""


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
    reported_ms: int = 0  # of its playback, to a server that wants to know


@dataclass(slots=True)
class Conversation:
    """Maps the events of one connection. `send` sends an event to the server."""

    request: SessionRequest
    call: LiveCall
    send: Send
    dialect: Dialect = field(default_factory=Dialect)
    configured: asyncio.Event = field(default_factory=asyncio.Event)
    model: str = ""  # as the server calls it
    _replies: dict[str, SpokenReply] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=itertools.count)
    _ours: set[str] = field(default_factory=set)  # events of ours that a server may refuse without harm
    _asked: int = 0  # responses that the client has asked for and that have not begun
    _samples: int = 0  # of all replies
    _stray: set[tuple[str, str]] = field(
        default_factory=set
    )  # responses of which something came out of order, and when
    _limits: str = ""  # what the server last said of its limits

    async def begin(self, events: AsyncIterator[ServerEvent], limit_s: float, duplex: bool = False) -> None:
        """Agrees on a session: sends the configuration in the dialect of the server's first event.

        `duplex`: of a server whose first event answers the configuration. Raises SystemFailure where there is no first event
        within the limit, or where it refuses.
        """
        if duplex:
            self.dialect = DUPLEX
            await self._configure()
        first = await first_event(events, limit_s)
        if duplex:
            check_duplex(first)
            self._described(first)
            return
        self.dialect = dialect_of(first)
        self._described(first)
        await self._configure()

    async def _configure(self) -> None:
        await self.send({"type": "session.update", "session": self.request.to_json(self.dialect)})

    async def take(self, event: ServerEvent) -> None:
        """Handles one event of the server. Those of no meaning here, and unknown ones, are passed over."""
        kind = ga_name(event["type"])
        if kind == "session.updated":
            self._confirmed(event)
        elif kind == "session.created":
            self._described(event)
        elif kind == "error":
            self._refused(event)
        elif kind.startswith("input_audio_buffer.speech_"):
            await self._speech(kind)
        elif kind.startswith("conversation.item.input_audio_transcription."):
            self._transcript(kind, event)
        elif kind == "rate_limits.updated":
            self._limits = _limits(event)
        elif kind.startswith("response."):
            await self._response(kind, event)

    # ---- the user's side -----------------------------------------------------------------------------------------------

    async def _speech(self, kind: str) -> None:
        if kind.endswith("speech_stopped"):
            self.call.emit(Event(EventKind.SPEECH_END))
        elif kind.endswith("speech_started"):
            self.call.emit(Event(EventKind.SPEECH_START))
            await self.interrupt()

    def _transcript(self, kind: str, event: ServerEvent) -> None:
        if kind.endswith(".completed"):
            self.call.emit(Event(EventKind.TRANSCRIPT, {"text": _text(event, "transcript").strip()}))
            self._used(event.get("usage"), self.request.transcription or "transcription")
        elif kind.endswith(".failed"):
            self._note("transcription_failed", event.get("error"))

    async def interrupt(self, cancel: bool = False) -> None:
        """Stops playback where a reply is generated or audible, as a client has to, and tells the server what was heard.

        `cancel`: the client has noticed the interruption, not the server: it ends the response, too.
        """
        reply = next(reversed(self._replies.values()), None)
        active = reply is not None and not reply.done and not reply.dropped
        if cancel and (active or self._asked):
            await self._send_fallible({"type": "response.cancel"})
        if reply is not None:
            await self._stop(reply)

    async def _stop(self, reply: SpokenReply) -> None:
        heard = self._heard(reply)
        if reply.dropped or (reply.done and heard >= reply.samples):
            return
        reply.dropped = True
        self.call.emit(Event(EventKind.DECISION, {"action": Action.YIELD}))
        if reply.item:
            heard_ms = 1000 * heard // self.request.output.rate_hz
            position = {"item_id": reply.item, "content_index": reply.content, "audio_end_ms": heard_ms}
            await self._send_fallible({"type": "conversation.item.truncate", **position})

    async def _send_fallible(self, event: dict[str, Any]) -> None:
        """Sends what a server may refuse without harm, as it may come too late."""
        name = f"fobench_{next(self._ids)}"
        self._ours.add(name)
        await self.send({**event, "event_id": name})

    async def ask(self) -> None:
        """Ends the user's turn, and asks for a reply to it."""
        await self.send({"type": "input_audio_buffer.commit"})
        self._asked += 1
        await self.send({"type": "response.create"})

    async def append(self, audio: str) -> None:
        """Sends the user's audio, encoded; reports playback to a server that wants to know it."""
        await self.send({"type": "input_audio_buffer.append", "audio": audio})
        if self.dialect.duplex and self.call.heard is not None:
            number, samples = self.call.heard
            played_ms = 1000 * samples // self.request.output.rate_hz
            for name, reply in self._replies.items():
                if reply.number == number and played_ms >= reply.reported_ms + ACKNOWLEDGED_MS:
                    reply.reported_ms = played_ms
                    played = {"played_ms": played_ms, "committed_ms": played_ms}
                    await self.send({"type": "playback.ack", "response_id": name, "item_id": reply.item, **played})

    async def leave(self) -> None:
        """Tells a server that would keep the session for a while that it is over."""
        if self.dialect.duplex:
            await self.send({"type": "session.close"})

    def _heard(self, reply: SpokenReply) -> int:
        number, samples = self.call.heard or (-1, 0)
        return samples if number == reply.number else reply.samples if number > reply.number else 0

    # ---- the server's side ---------------------------------------------------------------------------------------------

    async def _response(self, kind: str, event: ServerEvent) -> None:
        if kind == "response.created":
            self._begin(_inner(event, "response"))
            return
        name = _id(event)
        reply = self._replies.get(name)
        if kind == "response.done":
            await self._end(_inner(event, "response"))
        elif reply is None or reply.done:
            when = "before its response.created" if reply is None else "after its response.done"
            if kind.endswith(".delta") and not (reply and reply.dropped) and (name, when) not in self._stray:
                self._stray.add((name, when))
                self._note("out_of_order", f"{kind} of response {name[:60]!r} came {when}: not counted")
        elif reply.dropped:
            return
        elif kind == "response.output_audio.delta":
            self._audio(reply, event)
        elif kind in ("response.output_audio_transcript.delta", "response.output_text.delta"):
            self.call.emit(Event(EventKind.TOKEN, {"text": _text(event, "delta"), "reply": reply.number}))

    def _begin(self, response: ServerEvent) -> None:
        name = str(response.get("id", ""))
        if name not in self._replies:
            self._asked = max(0, self._asked - 1)
            self._replies[name] = SpokenReply(len(self._replies))
            self.call.emit(Event(EventKind.DECISION, {"action": Action.SPEAK}))

    def _audio(self, reply: SpokenReply, event: ServerEvent) -> None:
        rate = event.get("sample_rate_hz")  # vLLM-Omni tells it with each piece
        if isinstance(rate, int) and self.request.output.name == "pcm16" and rate != self.request.output.rate_hz:
            raise SystemFailure("bad_audio", f"the server sends audio at {rate} Hz: give output_rate_hz={rate}")
        samples, reply.rest = self.request.output.decode(event.get("delta"), reply.rest)
        reply.item, reply.content = str(event.get("item_id") or reply.item), _index(event.get("content_index"))
        if len(samples):
            audio = AudioChunk(samples, self.request.output.rate_hz, reply.samples)
            reply.samples += len(samples)
            self._samples += len(samples)
            connection.check_length(self._samples, self.request.output.rate_hz)
            self.call.emit(Event(EventKind.AUDIO, {"audio": audio, "reply": reply.number}))

    async def _end(self, response: ServerEvent) -> None:
        """The end of a response. Raises SystemFailure where it failed, or its audio is half of something."""
        reply = self._replies.get(str(response.get("id", "")))
        self._used(response.get("usage"), self.model)
        status, details = response.get("status"), response.get("status_details")
        if reply is not None and not reply.done:
            reply.done = True
            if reply.rest and status == "completed" and not reply.dropped:
                raise SystemFailure(
                    "bad_audio",
                    f"a reply's audio has an odd number of bytes ({2 * reply.samples + 1:,}), which 16-bit PCM cannot: "
                    "give the server's format (audio=g711_ulaw, for example)",
                )
            self.call.emit(Event(EventKind.REPLY_END, {"reply": reply.number}))
            if status == "cancelled":  # without speech_started, where the server alone has noticed the user
                await self._stop(reply)
        if status == "failed":
            error = _inner(details, "error") or details
            raise SystemFailure("raised", f"the server's response failed: {_error(error)}{self._advice(error)}")

    def _used(self, usage: Any, model: str) -> None:
        """Records what a server charges for, as the metrics of costs read it."""
        if isinstance(usage, Mapping):
            self.call.emit(Event(EventKind.BUSY, {"work": "usage", "usage": dict(usage), "model": model}))

    # ---- the session ---------------------------------------------------------------------------------------------------

    def _described(self, event: ServerEvent) -> None:
        self.model = str(_inner(event, "session").get("model") or self.model)[:MESSAGE]

    def _confirmed(self, event: ServerEvent) -> None:
        self._described(event)
        if wrong := wrong_audio(_inner(event, "session"), self.request):
            raise SystemFailure("bad_audio", f"the server has other audio: {wrong}")
        self.configured.set()

    def _refused(self, event: ServerEvent) -> None:
        """An error event. It fails the conversation, except where it answers what may come too late: a truncation, a cancel."""
        error = _inner(event, "error") or event
        if str(error.get("event_id")) in self._ours or error.get("code") == ACTIVE:
            self._note("server_error", error)
            return
        what = "the server reports an error" if self.configured.is_set() else "the server refuses the session"
        raise SystemFailure("raised", f"{what}: {_error(error)}{self._advice(error)}")

    def _advice(self, error: Any) -> str:
        """What to do about a limit of the server, and what it says of its limits."""
        kinds = {str(error.get(key)) for key in ("type", "code")} if isinstance(error, Mapping) else set()
        if kinds.isdisjoint(RATE_LIMITS):
            return ""
        return f"{self._limits}. Run fewer conversations at a time (--workers), or later"

    def _note(self, work: str, what: Any) -> None:
        self.call.emit(Event(EventKind.BUSY, {"work": work, "text": _error(what)}))


async def first_event(events: Any, limit_s: float) -> ServerEvent:
    """The first event of a connection. Raises SystemFailure (`hung`) where none comes within the limit."""
    try:
        event: ServerEvent = await asyncio.wait_for(anext(events), limit_s)
    except TimeoutError as error:
        raise SystemFailure(
            "hung", f"the server has accepted the connection and sent nothing for {limit_s:g} s"
        ) from error
    if event.get("type") == "error":
        refused = _inner(event, "error") or event
        in_use = not {str(refused.get(key)) for key in ("type", "code")}.isdisjoint(NO_SESSION)
        kind = SessionsInUse if in_use else SystemFailure
        raise kind("raised", f"the server refuses the session: {_error(refused)}")
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
    parts = [str(error[key]) for key in ("type", "code", "message", "error") if error.get(key)]
    return (", ".join(parts) or "without a message")[:MESSAGE]


def _limits(event: ServerEvent) -> str:
    """The limits that are used up, as a piece of a sentence; "" without any."""
    limits = event.get("rate_limits")
    spent = [
        f"{limit.get('name')} of {limit.get('limit')} used up, again in {limit.get('reset_seconds')} s"
        for limit in (limits if isinstance(limits, list) else ())
        if isinstance(limit, Mapping) and limit.get("remaining") == 0
    ]
    return f" ({'; '.join(spent)[:MESSAGE]})" if spent else ""
