"""The items of a served conversation, and the response that is spoken now: the server's side of the Realtime protocol."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fobench.api.types import Message

Send = Callable[..., None]  # (type of the event, **fields)
MOST_ITEMS = 1_000  # of a conversation; older ones are forgotten


@dataclass(slots=True)
class Response:
    """A response in progress. `reply` is the system's number of the reply, None of one by text."""

    id: str
    item: str
    reply: int | None
    text_only: bool
    text: list[str] = field(default_factory=list)
    started: bool = False


@dataclass(slots=True)
class Conversation:
    """Sends the events of items and responses in the order that official clients expect."""

    send: Send
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    response: Response | None = None
    user_item: str = ""  # the last item of the user's audio
    spoken: dict[str, tuple[int, int]] = field(default_factory=dict)  # item -> the system's reply, samples sent of it
    _ids: Iterator[int] = field(default_factory=itertools.count)

    def new_id(self, kind: str) -> str:
        return f"{kind}_{next(self._ids):06d}"

    def history(self) -> list[Message]:
        """The conversation as text, for the system's text route; items without text are left out."""
        messages = []
        for item in self.items.values():
            text = " ".join(filter(None, (part.get("text") or part.get("transcript") for part in item["content"])))
            if text and item["role"] in ("user", "assistant"):
                messages.append({"role": item["role"], "content": text})
        return messages

    # ---- items -------------------------------------------------------------------------------------------------------

    def add(self, item: dict[str, Any]) -> None:
        """Adds an item that is complete."""
        previous = next(reversed(self.items), None)
        self._keep(item)
        self.send("conversation.item.added", item=item, previous_item_id=previous)
        self.send("conversation.item.done", item=item, previous_item_id=previous)

    def commit(self) -> str:
        """Adds the user's audio so far as an item; returns its id."""
        previous = next(reversed(self.items), None)
        self.user_item = self.user_item or self.new_id("item")
        name, self.user_item = self.user_item, ""
        self.send("input_audio_buffer.committed", item_id=name, previous_item_id=previous)
        self.add(message(name, "user", {"type": "input_audio", "transcript": None}))
        return name

    def transcribed(self, item: str, text: str) -> None:
        """Adds the transcript of the user's audio to its item."""
        if item in self.items:
            self.items[item]["content"][0]["transcript"] = text
        usage = {"type": "duration", "seconds": 0}
        fields = {"item_id": item, "content_index": 0, "transcript": text, "usage": usage}
        self.send("conversation.item.input_audio_transcription.completed", **fields)

    def truncate(self, item: str) -> None:
        """Removes the transcript of an item that was heard in part: what was heard of the text is not known."""
        if item in self.items:
            self.items[item]["content"][0]["transcript"] = ""

    def _keep(self, item: dict[str, Any]) -> None:
        self.items[item["id"]] = item
        while len(self.items) > MOST_ITEMS:
            del self.items[next(iter(self.items))]

    # ---- responses ---------------------------------------------------------------------------------------------------

    def begin(self, reply: int | None, text_only: bool) -> Response:
        """Begins a response; one in progress is completed first."""
        if self.response is not None:
            self.end("completed")
        self.response = Response(self.new_id("resp"), self.new_id("item"), reply, text_only)
        self.send("response.created", response=self._described("in_progress"))
        return self.response

    def say(self, text: str) -> None:
        """Adds text to the response."""
        if (response := self.response) is None or not text:
            return
        self._start(response)
        response.text.append(text)
        kind = "response.output_text.delta" if response.text_only else "response.output_audio_transcript.delta"
        self.send(kind, **self._place(response), delta=text)

    def play(self, audio: str, samples: int) -> None:
        """Adds audio (base64; `samples` at the system's rate) to the response."""
        if (response := self.response) is None:
            return
        self._start(response)
        if response.reply is not None:
            self.spoken[response.item] = (response.reply, samples + self.spoken.get(response.item, (0, 0))[1])
            while len(self.spoken) > MOST_ITEMS:
                del self.spoken[next(iter(self.spoken))]
        if audio:
            self.send("response.output_audio.delta", **self._place(response), delta=audio)

    def end(self, status: str, reason: str | None = None) -> None:
        """Ends the response in progress, if there is one: completed, cancelled, failed or incomplete."""
        if (response := self.response) is None:
            return
        if response.started:
            self._close(response, "completed" if status == "completed" else "incomplete")
        self.response = None
        details = {"type": status, "reason": reason} if reason else None
        self.send("response.done", response={**self._described(status, response), "status_details": details})

    def _start(self, response: Response) -> None:
        if response.started:
            return
        response.started = True
        item = message(response.item, "assistant", None, "in_progress")
        ids = {"response_id": response.id, "output_index": 0}
        previous = next(reversed(self.items), None)
        self.send("response.output_item.added", **ids, item=item)
        self.send("conversation.item.added", item=item, previous_item_id=previous)
        self.send("response.content_part.added", **self._place(response), part=self._part(response))

    def _close(self, response: Response, status: str) -> None:
        place, text = self._place(response), "".join(response.text)
        if response.text_only:
            self.send("response.output_text.done", **place, text=text)
        else:
            self.send("response.output_audio.done", **place)
            self.send("response.output_audio_transcript.done", **place, transcript=text)
        part = self._part(response)
        self.send("response.content_part.done", **place, part=part)
        kind = {"type": "output_text" if response.text_only else "output_audio"}
        item = message(response.item, "assistant", {**part, **kind}, status)
        previous = next(reversed(self.items), None)
        self._keep(item)
        self.send("conversation.item.done", item=item, previous_item_id=previous)
        self.send("response.output_item.done", response_id=response.id, output_index=0, item=item)

    def _place(self, response: Response) -> dict[str, Any]:
        return {"response_id": response.id, "item_id": response.item, "output_index": 0, "content_index": 0}

    def _part(self, response: Response) -> dict[str, Any]:
        text = "".join(response.text)
        return {"type": "text", "text": text} if response.text_only else {"type": "audio", "transcript": text}

    def _described(self, status: str, response: Response | None = None) -> dict[str, Any]:
        response = response or self.response
        assert response is not None
        pieces = len(response.text)  # the system's pieces of text: tokens of its LLM, where it reports each
        details = {"text_tokens": pieces, "audio_tokens": 0}
        usage = {"total_tokens": pieces, "input_tokens": 0, "output_tokens": pieces, "output_token_details": details}
        item = self.items.get(response.item)
        return {
            "id": response.id,
            "object": "realtime.response",
            "status": status,
            "status_details": None,
            "output": [item] if item else [],
            "output_modalities": ["text" if response.text_only else "audio"],
            "usage": None if status == "in_progress" else usage,
        }


def message(name: str, role: str, part: dict[str, Any] | None, status: str = "completed") -> dict[str, Any]:
    """A message item."""
    content = [] if part is None else [part]
    return {
        "id": name,
        "object": "realtime.item",
        "type": "message",
        "status": status,
        "role": role,
        "content": content,
    }
