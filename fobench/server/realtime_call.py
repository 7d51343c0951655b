"""A client of the OpenAI Realtime protocol: its events become audio of the system's session, the system's events become its."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from fobench.api.components import TextRoute
from fobench.api.types import Action, Event, EventKind, Samples
from fobench.audio.stream_resampler import StreamResampler
from fobench.errors import SystemFailure, describe_error
from fobench.server.background import TextAnswers, TooManyAnswers
from fobench.server.call import MOST_AHEAD_S, Call
from fobench.server.conversation import Conversation, Response, message
from fobench.server.session_config import SessionConfig

MANUAL_SILENCE_S = 3.0  # pushed after a turn that the client has ended, until the system replies
MANUAL_AUDIO_S = 600.0  # of one turn that the client ends
LONGEST_TEXT = 20_000  # characters of an item
LONGEST_ID = 200
TRUNCATION_MS = 100  # by which a client may count more than was sent
MOST_PIECES = 1000  # of a turn that the client ends; more are joined
TEXT_KINDS = ("input_text", "output_text", "text")


class ClientError(Exception):
    """A client's event that cannot be followed; the session goes on. `code` names the kind."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(slots=True, eq=False)
class RealtimeCall(Call):
    """A session of the protocol: events as JSON."""

    model: str = ""
    name: str = ""
    answers: TextAnswers = field(default_factory=TextAnswers)  # of all sessions of the server
    config: SessionConfig = field(default_factory=SessionConfig)
    conversation: Conversation = field(init=False)
    _incoming: StreamResampler = field(init=False)
    _manual: list[Samples] = field(default_factory=list)
    _manual_samples: int = 0  # that these hold
    _position: int = 0  # samples received, at the client's rate
    _onset_ms: int | None = None  # an onset that was not reported, as it may be a backchannel
    _reported: bool = False  # whether speech_started was sent without a speech_stopped
    _last_user: str = ""
    _transcript: str | None = None  # of a turn that is not committed yet
    _unasked: bool = False  # whether a turn was committed to which no response was asked for
    _answer: asyncio.Future[str] | None = None
    _events: int = 0

    def __post_init__(self) -> None:
        Call.__post_init__(self)
        self.conversation = Conversation(self.send)
        self._incoming = StreamResampler(self.config.input.rate_hz, self.system.input_rate_hz)

    def begin(self) -> None:
        Call.begin(self)
        self.send("session.created", session=self.config.to_json(self.name, self.model))

    def end(self) -> None:
        Call.end(self)
        if self._answer is not None:
            self._answer.cancel()

    def send(self, kind: str, **fields: Any) -> None:
        """Queues an event for the client."""
        self._events += 1
        self._post(json.dumps({"type": kind, "event_id": f"event_{self._events:06d}", **fields}))

    def fail(self, code: str, text: str, event_id: Any = None, kind: str = "invalid_request_error") -> None:
        known = event_id if isinstance(event_id, str) and len(event_id) <= LONGEST_ID else None
        error = {"type": kind, "code": code, "message": text, "param": None, "event_id": known}
        self.send("error", error=error)

    def _report_failure(self, text: str) -> None:
        self.fail("system_failed", text, kind="server_error")

    def _generates(self) -> bool:
        return self.conversation.response is not None

    # ---- the client's events -----------------------------------------------------------------------------------------

    async def take(self, message: str | bytes) -> None:
        self.active_ns = time.perf_counter_ns()
        event: Any = None
        try:
            if isinstance(message, bytes):
                raise ClientError("invalid_event", "events are JSON text, not binary: raw audio has its own path, /pcm")
            try:
                event = json.loads(message)
            except (ValueError, RecursionError) as error:
                raise ClientError("invalid_json", f"this is not JSON: {error}") from error
            if not isinstance(event, dict) or not isinstance(event.get("type"), str):
                raise ClientError("invalid_event", "an event is an object with a type")
            self._follow(event)
        except ClientError as error:
            self.fail(error.code, str(error), event.get("event_id") if isinstance(event, dict) else None)

    def _follow(self, event: Mapping[str, Any]) -> None:
        kind = event["type"]
        if kind == "input_audio_buffer.append":
            self._append(event)
        elif kind == "input_audio_buffer.commit":
            self._commit()
        elif kind == "input_audio_buffer.clear":
            self._drop_manual()
            self.send("input_audio_buffer.cleared")
        elif kind == "session.update":
            self._update(event)
        elif kind == "response.create":
            self._create()
        elif kind == "response.cancel":
            self._cancel()
        elif kind.startswith("conversation.item."):
            self._item(kind.rpartition(".")[2], event)
        else:
            raise ClientError("unknown_event", f"there is no event {kind!r:.80}")

    def _append(self, event: Mapping[str, Any]) -> None:
        try:
            samples, rest = self.config.input.decode(event.get("audio"))
        except SystemFailure as error:
            raise ClientError("invalid_audio", str(error)) from error
        if rest:
            raise ClientError("invalid_audio", f"{2 * len(samples) + 1} bytes are no whole number of 16-bit samples")
        self._position += len(samples)
        resampled = self._incoming.push(samples)
        if not len(resampled):  # nothing to keep: no limit would count it
            return
        if not self.config.manual:
            _ = self._hear(resampled) and self._push(resampled)
            return
        self._manual.append(resampled)
        self._manual_samples += len(resampled)
        if len(self._manual) > MOST_PIECES:
            self._manual = [np.concatenate(self._manual)]
        if self._hear(resampled, MANUAL_AUDIO_S + MOST_AHEAD_S) and self._manual_s() > MANUAL_AUDIO_S:
            self._drop_manual()
            raise ClientError("input_audio_buffer_too_long", f"a turn may last {MANUAL_AUDIO_S:.0f} s; it is dropped")

    def _manual_s(self) -> float:
        return self._manual_samples / self.system.input_rate_hz

    def _drop_manual(self) -> None:
        self._manual, self._manual_samples = [], 0

    def _commit(self) -> None:
        if not self.config.manual:
            raise ClientError("turn_detection_active", "the server ends turns: set turn_detection to null to commit")
        if not self._manual_s():
            raise ClientError("input_audio_buffer_commit_empty", "the buffer holds no audio")
        silence = np.zeros(int(MANUAL_SILENCE_S * self.system.input_rate_hz), np.float32)
        turn = np.concatenate([*self._manual, silence])
        self._drop_manual()
        if self._push(turn, MANUAL_AUDIO_S + MOST_AHEAD_S):
            self._turn_end_ns, self._unasked = time.perf_counter_ns(), True
            self._last_user = self.conversation.commit()

    def _update(self, event: Mapping[str, Any]) -> None:
        try:
            config = self.config.updated(event.get("session"))
        except ValueError as error:
            raise ClientError("invalid_value", str(error)) from error
        if config.input != self.config.input:
            self._incoming = StreamResampler(config.input.rate_hz, self.system.input_rate_hz)
            self._position = self._position * config.input.rate_hz // self.config.input.rate_hz
        self.config = config
        self.send("session.updated", session=config.to_json(self.name, self.model))

    def _create(self) -> None:
        """An explicit response: to committed audio the system's own, to typed messages its answer by text. It takes no options."""
        last = next(reversed(self.conversation.items.values()), None)
        typed = last is not None and last["role"] == "user" and last["content"][0]["type"] != "input_audio"
        if self._unasked and not typed:  # the system's reply to the turn, which it may have begun already
            self._unasked = False
            return
        if self.conversation.response is not None:
            raise ClientError("conversation_already_has_active_response", "one response at a time: cancel it first")
        if not typed:
            hint = "commit a turn first" if self.config.manual else "to speech the server replies by itself"
            raise ClientError("nothing_to_answer", f"there is no message of the user that is not answered; {hint}")
        if not isinstance(self.system, TextRoute):
            raise ClientError("no_text", "this system does not answer by text")
        if self._answer is not None and not self._answer.done():
            raise ClientError("answer_in_progress", "the system still works on the answer that was cancelled")
        try:
            self._answer = self.answers.begin(self.system, self.conversation.history(), self.seed)
        except TooManyAnswers as error:
            limit = f"the system works on {self.answers.most} answers by text, as many as it may (--sessions)"
            raise ClientError("too_many_answers", f"{limit}: ask again later") from error
        response = self.conversation.begin(None, text_only=True)
        self._answer.add_done_callback(partial(self._answered, response))

    def _answered(self, response: Response, answer: asyncio.Future[str]) -> None:
        """Gives the answer by text, unless the response was cancelled meanwhile, or the session has ended."""
        if answer.cancelled():
            return
        error = answer.exception()  # a plugin may raise anything; this response fails, the session goes on
        if self.conversation.response is response:
            self.conversation.say("" if error else answer.result())
            self.conversation.end("failed" if error else "completed", describe_error(error)[:200] if error else None)

    def _cancel(self) -> None:
        if self.conversation.response is None:
            raise ClientError("response_cancel_not_active", "no response is in progress")
        self._dropped = self.conversation.response.reply
        self._playout.stop(time.perf_counter_ns())
        self.conversation.end("cancelled", "client_cancelled")

    def _item(self, verb: str, event: Mapping[str, Any]) -> None:
        name = event.get("item_id")
        if verb == "create":
            self._add_item(event.get("item"))
        elif verb == "truncate" and isinstance(name, str) and name in self.conversation.spoken:
            self._truncate(name, event.get("audio_end_ms"))
        elif not isinstance(name, str) or name not in self.conversation.items:
            raise ClientError("item_not_found", f"there is no item {name!r:.80}")
        elif verb == "truncate":
            raise ClientError("invalid_value", "this item is no speech of the system")
        elif verb == "delete":
            del self.conversation.items[name]
            self.send("conversation.item.deleted", item_id=name)
        elif verb == "retrieve":
            self.send("conversation.item.retrieved", item=self.conversation.items[name])
        else:
            raise ClientError("unknown_event", f"there is no event conversation.item.{verb:.80}")

    def _truncate(self, name: str, heard_ms: Any) -> None:
        """The listener has heard `heard_ms` of an item, and no more."""
        reply, samples = self.conversation.spoken[name]
        length_ms = 1000 * samples // self.system.output_rate_hz
        if not isinstance(heard_ms, int) or isinstance(heard_ms, bool) or heard_ms < 0:
            raise ClientError("invalid_value", "audio_end_ms must be whole milliseconds")
        if heard_ms > length_ms + TRUNCATION_MS:
            raise ClientError(
                "invalid_value", f"audio_end_ms={heard_ms!s:.20} is beyond the item's {length_ms} ms of audio"
            )
        self._playout.truncate(reply, heard_ms * self.system.output_rate_hz // 1000, time.perf_counter_ns())
        self.conversation.truncate(name)
        self.send("conversation.item.truncated", item_id=name, content_index=0, audio_end_ms=heard_ms)

    def _add_item(self, item: Any) -> None:
        content = item.get("content") if isinstance(item, Mapping) else None
        if not isinstance(content, list) or item.get("role") not in ("user", "assistant", "system"):
            raise ClientError("invalid_value", "an item is a message with a role and a list of contents")
        parts = [part for part in content if isinstance(part, Mapping) and part.get("type") in TEXT_KINDS]
        text = " ".join(part["text"] for part in parts if isinstance(part.get("text"), str)).strip()
        if not text or len(parts) < len(content):
            raise ClientError("invalid_value", f"an item's contents are text, of type {', '.join(TEXT_KINDS)}")
        if len(text) > LONGEST_TEXT:
            raise ClientError("invalid_value", f"an item holds at most {LONGEST_TEXT:,} characters")
        name = item.get("id", "")
        if not isinstance(name, str) or len(name) > LONGEST_ID or name in self.conversation.items:
            raise ClientError("invalid_value", f"an item's id is a new text of at most {LONGEST_ID} characters")
        kind = "output_text" if item["role"] == "assistant" else "input_text"
        name = name or self.conversation.new_id("item")
        self.conversation.add(message(name, item["role"], {"type": kind, "text": text}))

    # ---- the system's events -----------------------------------------------------------------------------------------

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
            if self._number(event) != self._dropped:
                self.conversation.say(event.data.get("text", ""))
        elif event.kind == EventKind.AUDIO:
            self._play(event)
        elif event.kind == EventKind.REPLY_END and self._number(event) != self._dropped:
            self._finish_audio()
            self.conversation.end("completed")

    def _decided(self, action: str) -> None:
        if action == Action.YIELD:
            self._playout.stop(time.perf_counter_ns())
            self._dropped = self.conversation.response.reply if self.conversation.response else self._dropped
            self._spoken = None
            self.conversation.end("cancelled", "turn_detected")
            self._report_onset()
        elif action == Action.SPEAK:
            self._end_turn()
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
        if self._number(event) == self._dropped or self.conversation.response is None:
            return
        samples = self._speak(event, self.config.output.rate_hz)
        if not self.config.text_only:
            self.conversation.play(self._encoded(samples), len(event.data["audio"].samples))

    def _finish_audio(self) -> None:
        if self._spoken is not None and not self.config.text_only:
            self.conversation.play(self._encoded(self._spoken.finish()), 0)
        self._spoken = None

    def _encoded(self, samples: Samples) -> str:
        return self.config.output.encode(samples) if len(samples) else ""
