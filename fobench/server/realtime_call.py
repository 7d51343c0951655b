"""One client's connection: its audio goes to the system's session, the system's events to the client."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fobench.api.components import System, TextRoute
from fobench.api.types import Action, Event, EventKind, Samples
from fobench.audio.stream_resampler import StreamResampler
from fobench.errors import SystemFailure, describe_error
from fobench.server.conversation import Conversation, message
from fobench.server.counters import Counters
from fobench.server.live_runner import MOST_QUEUED_S, LiveRunner
from fobench.server.playout import Playout
from fobench.server.session_config import SessionConfig

MOST_UNSENT = 4_000  # events that a client has not read
MANUAL_SILENCE_S = 3.0  # pushed after a turn that the client has ended, until the system replies
MANUAL_AUDIO_S = 600.0  # of one turn that the client ends


class ClientError(Exception):
    """A client's event that cannot be followed; the session goes on. `code` names the kind."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Hangup(Exception):
    """The connection must end. `code`: of the WebSocket."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(slots=True)
class Call:
    """A session of the protocol. `outgoing` holds what is to be sent, as JSON; None ends it."""

    system: System
    model: str
    name: str
    seed: int
    loop: asyncio.AbstractEventLoop
    counters: Counters
    outgoing: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)
    config: SessionConfig = field(default_factory=SessionConfig)
    ended: Hangup | None = None
    active_ns: int = field(default_factory=time.perf_counter_ns)  # of the last sign of life of the client
    conversation: Conversation = field(init=False)
    _runner: LiveRunner = field(init=False)
    _playout: Playout = field(init=False)
    _incoming: StreamResampler = field(init=False)
    _spoken: StreamResampler | None = None  # of the reply that is generated
    _manual: list[Samples] = field(default_factory=list)
    _position: int = 0  # samples received, at the client's rate
    _onset_ms: int | None = None  # an onset that was not reported, as it may be a backchannel
    _reported: bool = False  # whether speech_started was sent without a speech_stopped
    _dropped: int | None = None  # the reply of which nothing more is sent
    _last_user: str = ""
    _transcript: str | None = None  # of a turn that is not committed yet
    _decided_ns: int | None = None
    _replies: int = -1  # the number of the last reply, as the system counts
    _events: int = 0

    def __post_init__(self) -> None:
        self.conversation = Conversation(self.send)
        self._playout = Playout(self.system.output_rate_hz)
        self._incoming = StreamResampler(self.config.input.rate_hz, self.system.input_rate_hz)
        self._runner = LiveRunner(self.system, self.seed, self._deliver, self._heard)

    def begin(self) -> None:
        self._runner.start()
        self.send("session.created", session=self.config.to_json(self.name, self.model))

    def end(self) -> None:
        self._runner.close()
        self.counters.worked(self._runner.times.busy_ns, self._runner.times.audio_ns)

    def send(self, kind: str, **fields: Any) -> None:
        """Queues an event for the client. A client that does not read is hung up on."""
        self._events += 1
        event = {"type": kind, "event_id": f"event_{self._events:06d}", **fields}
        if self.outgoing.qsize() >= MOST_UNSENT:
            self.ended = self.ended or Hangup(1008, f"{MOST_UNSENT:,} events are not read")
            return
        self.outgoing.put_nowait(json.dumps(event))

    def fail(self, code: str, text: str, event_id: Any = None, kind: str = "invalid_request_error") -> None:
        error = {"type": kind, "code": code, "message": text, "param": None, "event_id": event_id}
        self.send("error", error=error)

    # ---- the client's events -----------------------------------------------------------------------------------------

    async def take(self, text: str | bytes) -> None:
        """Handles a message of the client. What cannot be followed is answered by an error event."""
        self.active_ns = time.perf_counter_ns()
        event: Any = None
        try:
            if isinstance(text, bytes):
                raise ClientError("invalid_event", "events are JSON text, not binary")
            try:
                event = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise ClientError("invalid_json", f"this is not JSON: {error}") from error
            if not isinstance(event, dict) or not isinstance(event.get("type"), str):
                raise ClientError("invalid_event", "an event is an object with a type")
            await self._follow(event)
        except ClientError as error:
            self.fail(error.code, str(error), event.get("event_id") if isinstance(event, dict) else None)

    async def _follow(self, event: Mapping[str, Any]) -> None:
        kind = event["type"]
        if kind == "input_audio_buffer.append":
            self._append(event)
        elif kind == "input_audio_buffer.commit":
            self._commit()
        elif kind == "input_audio_buffer.clear":
            self._manual.clear()
            self.send("input_audio_buffer.cleared")
        elif kind == "session.update":
            self._update(event)
        elif kind == "response.create":
            await self._create(event.get("response") or {})
        elif kind == "response.cancel":
            self._cancel()
        elif kind.startswith("conversation.item."):
            self._item(kind.rpartition(".")[2], event)
        else:
            raise ClientError("unknown_event", f"there is no event {kind!r:.80}")

    def _append(self, event: Mapping[str, Any]) -> None:
        try:
            samples, _ = self.config.input.decode(event.get("audio"))
        except SystemFailure as error:
            raise ClientError("invalid_audio", str(error)) from error
        self._position += len(samples)
        resampled = self._incoming.push(samples)
        if self.config.manual:
            self._manual.append(resampled)
            if sum(map(len, self._manual)) > MANUAL_AUDIO_S * self.system.input_rate_hz:
                self._manual.clear()
                raise ClientError(
                    "input_audio_buffer_too_long", f"a turn may last {MANUAL_AUDIO_S:.0f} s; it is dropped"
                )
        elif not self._runner.push(resampled):
            self.ended = self.ended or Hangup(1008, f"more than {MOST_QUEUED_S:.0f} s of audio wait")

    def _commit(self) -> None:
        if not self.config.manual:
            raise ClientError("turn_detection_active", "the server ends turns: set turn_detection to null to commit")
        if not self._manual:
            raise ClientError("input_audio_buffer_commit_empty", "the buffer holds no audio")
        silence = np.zeros(int(MANUAL_SILENCE_S * self.system.input_rate_hz), np.float32)
        turn, self._manual = np.concatenate([*self._manual, silence]), []
        for start in range(0, len(turn), self.system.input_rate_hz):
            self._runner.push(turn[start : start + self.system.input_rate_hz])
        self._last_user = self.conversation.commit()

    def _update(self, event: Mapping[str, Any]) -> None:
        try:
            config = self.config.updated(event.get("session"))
        except ValueError as error:
            raise ClientError("invalid_value", str(error)) from error
        if config.input != self.config.input:
            self._incoming = StreamResampler(config.input.rate_hz, self.system.input_rate_hz)
        self.config = config
        self.send("session.updated", session=config.to_json(self.name, self.model))

    async def _create(self, options: Any) -> None:
        """An explicit response: to committed audio the system's own, to typed messages its answer by text."""
        if self.conversation.response is not None:
            raise ClientError("conversation_already_has_active_response", "one response at a time: cancel it first")
        history = self.conversation.history()
        last = next(reversed(self.conversation.items.values()), None)
        if last is None or last["role"] != "user" or last["content"][0]["type"] == "input_audio":
            if not self.config.manual:
                raise ClientError(
                    "nothing_to_answer", "there is no message of the user; to speech the server replies by itself"
                )
            return
        if not isinstance(self.system, TextRoute):
            raise ClientError("no_text", "this system does not answer by text")
        self.conversation.begin(None, text_only=True)
        try:
            answer = await asyncio.to_thread(self.system.answer, history, self.seed)
        except Exception as error:  # a plugin may raise anything; this response fails, the session goes on
            self.conversation.end("failed", describe_error(error)[:200])
            return
        self.conversation.say(answer)
        self.conversation.end("completed")

    def _cancel(self) -> None:
        if self.conversation.response is None:
            raise ClientError("response_cancel_not_active", "no response is in progress")
        self._dropped = self.conversation.response.reply
        self._playout.stop(time.perf_counter_ns())
        self.conversation.end("cancelled", "client_cancelled")

    def _item(self, verb: str, event: Mapping[str, Any]) -> None:
        if verb == "create":
            self._add_item(event.get("item"))
            return
        name = event.get("item_id")
        if not isinstance(name, str) or name not in self.conversation.items:
            response = self.conversation.response
            if verb != "truncate" or response is None or response.item != name:
                raise ClientError("item_not_found", f"there is no item {name!r:.80}")
        if verb == "truncate":
            heard_ms = event.get("audio_end_ms")
            if not isinstance(heard_ms, int) or heard_ms < 0:
                raise ClientError("invalid_value", "audio_end_ms must be whole milliseconds")
            self._playout.stop(time.perf_counter_ns(), heard_ms * self.system.output_rate_hz // 1000)
            self.conversation.truncate(name)
            self.send("conversation.item.truncated", item_id=name, content_index=0, audio_end_ms=heard_ms)
        elif verb == "delete":
            del self.conversation.items[name]
            self.send("conversation.item.deleted", item_id=name)
        elif verb == "retrieve":
            self.send("conversation.item.retrieved", item=self.conversation.items[name])
        else:
            raise ClientError("unknown_event", f"there is no event conversation.item.{verb:.80}")

    def _add_item(self, item: Any) -> None:
        content = item.get("content") if isinstance(item, Mapping) else None
        if not isinstance(content, list) or item.get("role") not in ("user", "assistant", "system"):
            raise ClientError("invalid_value", "an item is a message with a role and a list of contents")
        text = " ".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping)).strip()
        name = item.get("id") if isinstance(item.get("id"), str) else self.conversation.new_id("item")
        kind = "output_text" if item["role"] == "assistant" else "input_text"
        self.conversation.add(message(name, item["role"], {"type": kind, "text": text}))

    # ---- the system's events -----------------------------------------------------------------------------------------

    def _deliver(self, event: Event | SystemFailure | None) -> None:
        """Called in the runner's thread."""
        self.loop.call_soon_threadsafe(self._happened, event)

    def _heard(self) -> tuple[int, int] | None:
        return self._playout.position(time.perf_counter_ns())

    def _happened(self, event: Event | SystemFailure | None) -> None:
        if isinstance(event, SystemFailure):
            self.counters.failed += 1
            self.fail("system_failed", str(event), kind="server_error")
            self.ended = self.ended or Hangup(1011, "the system failed")
            self.outgoing.put_nowait(None)
        elif event is not None:
            self._tell(event)

    def _tell(self, event: Event) -> None:
        if event.kind == EventKind.SPEECH_START:
            self._onset_ms = 1000 * self._position // self.config.input.rate_hz
            if self.conversation.response is None and not self._playout.is_playing(time.perf_counter_ns()):
                self._report_onset()
        elif event.kind == EventKind.DECISION:
            self._decided(event.data["action"])
        elif event.kind == EventKind.TRANSCRIPT:
            self._transcript = event.data["text"]
            if self._last_user:
                self._send_transcript()
        elif event.kind == EventKind.TOKEN:
            if event.data.get("reply", self._dropped) != self._dropped:
                self.conversation.say(event.data.get("text", ""))
        elif event.kind == EventKind.AUDIO:
            self._play(event)
        elif event.kind == EventKind.REPLY_END:
            self._finish_audio()
            self.conversation.end("completed")

    def _decided(self, action: str) -> None:
        now = time.perf_counter_ns()
        if action == Action.YIELD:
            self._playout.stop(now)
            self.counters.interruptions += 1
            self._dropped = self.conversation.response.reply if self.conversation.response else self._dropped
            self._spoken = None
            self.conversation.end("cancelled", "turn_detected")
            self._report_onset()
        elif action == Action.SPEAK:
            self._decided_ns = now
            self._end_turn()
            self.counters.replies += 1
            self._replies += 1
            self.conversation.begin(self._replies, self.config.text_only)
        else:  # no reply: the user's sound was none, or not meant for the system
            self._onset_ms = None
            self._last_user = ""
            if self._reported:
                self._stop_turn()

    def _report_onset(self) -> None:
        if self._onset_ms is not None:
            self.conversation.user_item = self.conversation.new_id("item")
            fields = {"audio_start_ms": self._onset_ms, "item_id": self.conversation.user_item}
            self.send("input_audio_buffer.speech_started", **fields)
            self._onset_ms, self._reported = None, True

    def _stop_turn(self) -> None:
        end_ms = 1000 * self._position // self.config.input.rate_hz
        self.send("input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=self.conversation.user_item)
        self._reported = False

    def _end_turn(self) -> None:
        """The user's turn is over and will be answered."""
        if self.config.manual:
            self._send_transcript()
            return
        self._report_onset()
        if self._reported:
            self._stop_turn()
        self._last_user = self.conversation.commit()
        self._send_transcript()

    def _send_transcript(self) -> None:
        if self._transcript is not None and self._last_user:
            self.conversation.transcribed(self._last_user, self._transcript)
            self._transcript, self._last_user = None, ""

    def _play(self, event: Event) -> None:
        if event.data.get("reply", 0) == self._dropped or self.conversation.response is None:
            return
        audio = event.data["audio"]
        now = time.perf_counter_ns()
        if self._decided_ns is not None:
            self.counters.first_audio(now - self._decided_ns)
            self._decided_ns = None
        if self._spoken is None:
            self._spoken = StreamResampler(self.system.output_rate_hz, self.config.output.rate_hz)
        self._playout.add(event.data.get("reply", 0), len(audio.samples), now)
        if not self.config.text_only:
            self.conversation.play(self._encoded(self._spoken.push(audio.samples)), len(audio.samples))

    def _finish_audio(self) -> None:
        if self._spoken is not None and not self.config.text_only:
            self.conversation.play(self._encoded(self._spoken.finish()), 0)
        self._spoken = None

    def _encoded(self, samples: Samples) -> str:
        return self.config.output.encode(samples) if len(samples) else ""
