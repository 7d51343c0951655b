"""Dialects of the Realtime protocol: the names of events before the general availability (GA), and the shape of a session.

A server tells its dialect by its first event: a session with the table `audio` is configured as in the GA, a flat one as
in the beta.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fobench.audio.wire_format import AudioFormat

TurnDetection = Literal["server_vad", "semantic_vad", "none"]
BETA_PREFIXES = {
    "response.audio_transcript.": "response.output_audio_transcript.",
    "response.audio.": "response.output_audio.",
    "response.text.": "response.output_text.",
}


def ga_name(event_type: str) -> str:
    """The GA's name of an event of the beta; others unchanged."""
    for beta, name in BETA_PREFIXES.items():
        if event_type.startswith(beta):
            return name + event_type.removeprefix(beta)
    return event_type


def is_flat(session: Mapping[str, Any]) -> bool:
    """Whether a server's session has the beta's shape. One that tells neither is taken for the GA's."""
    return "audio" not in session and any(key in session for key in ("input_audio_format", "modalities"))


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """What a conversation needs of the server."""

    input: AudioFormat
    output: AudioFormat
    turn_detection: TurnDetection = "server_vad"
    instructions: str | None = None
    voice: str | None = None
    transcription: str | None = None  # the model that transcribes the user; None: not asked for
    text_only: bool = False

    def to_json(self, flat: bool) -> dict[str, Any]:
        """The configuration for `session.update`, in the beta's shape (`flat`) or the GA's."""
        detection = None if self.text_only or self.turn_detection == "none" else {"type": self.turn_detection}
        transcription = {"model": self.transcription} if self.transcription else None
        session: dict[str, Any] = {"instructions": self.instructions} if self.instructions else {}
        if flat:
            session["modalities"] = ["text"] if self.text_only else ["text", "audio"]
            session |= {"input_audio_format": self.input.name, "output_audio_format": self.output.name}
            session |= {"turn_detection": detection, "input_audio_transcription": transcription}
            return session | ({"voice": self.voice} if self.voice else {})
        heard: dict[str, Any] = {"format": self.input.to_json(), "turn_detection": detection}
        if transcription:
            heard["transcription"] = transcription
        spoken = {"format": self.output.to_json()} | ({"voice": self.voice} if self.voice else {})
        session |= {"type": "realtime", "output_modalities": ["text" if self.text_only else "audio"]}
        return session | {"audio": {"input": heard, "output": spoken}}


def wrong_rates(session: Mapping[str, Any], request: SessionRequest) -> str:
    """What a server's effective session says of audio rates, where they are not those asked for; "" where they are."""
    audio = session.get("audio")
    if not isinstance(audio, Mapping):
        return ""
    wrong = []
    for side, option, wanted in (("input", "rate_hz", request.input), ("output", "output_rate_hz", request.output)):
        part = audio.get(side)
        form = part.get("format") if isinstance(part, Mapping) else None
        rate = form.get("rate") if isinstance(form, Mapping) else None
        if isinstance(rate, int) and rate != wanted.rate_hz and wanted.name == "pcm16":
            wrong.append(f"{side} at {rate} Hz, not {wanted.rate_hz}: give {option}={rate}")
    return "; ".join(wrong)
