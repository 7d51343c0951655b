"""Messages of servers that send audio as such: raw PCM with JSON beside it, and the protobuf frames of Pipecat."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from fobench.api.types import Samples
from fobench.audio.wire_format import pcm16
from fobench.errors import SystemFailure

FramingName = Literal["raw", "pipecat"]
MessageKind = Literal["audio", "clear", "end", "user", "assistant"]
MessageSource = str | bytes
VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5  # wire types of protobuf
TEXT, AUDIO, TRANSCRIPTION, INTERRUPTION = 1, 2, 3, 5  # Pipecat's frames: fields of `Frame` in its frames.proto


@dataclass(frozen=True, slots=True)
class RawMessage:
    """What a message means: `audio` (16-bit PCM), `clear` (drop what is not played), `end`, or words of one side."""

    kind: MessageKind
    audio: bytes = b""
    text: str = ""


class Framing(Protocol):
    """One way of putting audio and signs on a WebSocket."""

    def encode(self, samples: Samples) -> bytes:
        """The user's audio, float32 [T] in [-1, 1], as one message."""

    def decode(self, message: MessageSource) -> RawMessage | None:
        """What a message of the server means; None: nothing here. Raises SystemFailure for one that cannot be read."""


class RawFraming:
    """Binary messages of PCM, text messages of JSON."""

    def encode(self, samples: Samples) -> bytes:
        return pcm16(samples)

    def decode(self, message: MessageSource) -> RawMessage | None:
        if isinstance(message, bytes):
            return RawMessage("audio", message)
        try:
            event = json.loads(message)
        except (ValueError, RecursionError):
            return None
        if not isinstance(event, dict):
            return None
        kind, text = event.get("type"), event.get("text")
        if kind == "clear" or kind == "end":
            return RawMessage(kind)
        if kind == "transcript" and isinstance(text, str) and event.get("final", True):
            return RawMessage("user" if event.get("role") == "user" else "assistant", text=text)
        return None


class PipecatFraming:
    """The frames of Pipecat's ProtobufFrameSerializer (protobuf, by hand: five messages of a few fields)."""

    def __init__(self, rate_hz: int, output_rate_hz: int) -> None:
        self._rate_hz, self._output_rate_hz = rate_hz, output_rate_hz

    def encode(self, samples: Samples) -> bytes:
        audio = _field(3, pcm16(samples)) + _number(4, self._rate_hz) + _number(5, 1)
        return _field(AUDIO, audio)

    def decode(self, message: MessageSource) -> RawMessage | None:
        if isinstance(message, str):
            return None
        try:
            frame = dict(_fields(message))
            kind = next(iter(frame), 0)
            body = frame.get(kind)
            content = dict(_fields(body)) if isinstance(body, bytes) else {}
        except (IndexError, ValueError) as error:
            raise SystemFailure(
                "bad_event", f"the server sent what is no frame of Pipecat: {message[:20]!r}"
            ) from error
        if kind == AUDIO:
            rate = content.get(4, self._output_rate_hz)
            if rate != self._output_rate_hz or content.get(5, 1) != 1:
                form = f"{rate!r} Hz, {content.get(5, 1)!r} channels"
                raise SystemFailure(
                    "bad_audio", f"the server sends audio of {form}: give output_rate_hz={rate!r}, and mono"
                )
            return RawMessage("audio", _bytes(content.get(3)))
        if kind == INTERRUPTION:
            return RawMessage("clear")
        if kind in (TEXT, TRANSCRIPTION):
            text = _bytes(content.get(3)).decode(errors="replace")
            return RawMessage("assistant" if kind == TEXT else "user", text=text)
        return None


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | VARINT) + _varint(value)


def _field(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | BYTES) + _varint(len(data)) + data


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message, (number, value). Raises IndexError or ValueError for one that is broken."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        if tag & 7 == VARINT:
            value, at = _read_varint(data, at)
            yield tag >> 3, value
            continue
        if tag & 7 == BYTES:
            length, at = _read_varint(data, at)
        elif tag & 7 in (FIXED_64, FIXED_32):
            length = 8 if tag & 7 == FIXED_64 else 4
        else:
            raise ValueError(f"wire type {tag & 7}")
        if at + length > len(data):
            raise ValueError("a field ends after its message")
        yield tag >> 3, data[at : at + length]
        at += length


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _bytes(value: int | bytes | None) -> bytes:
    return value if isinstance(value, bytes) else b""
