"""What differs between servers of the Realtime protocol: names of events, and the shape of a session's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fobench.audio.wire_format import AudioFormat
from fobench.errors import SystemFailure

TurnDetection = Literal["server_vad", "semantic_vad", "model", "none"]
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


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a server writes a session.

    `pcm`: the beta's words for 16-bit PCM in and out. `duplex`: vLLM-Omni's full duplex, which begins when the client has
    configured it, wants to be told what is played, and has to be closed.
    """

    shape: Literal["GA", "beta", "top-level"] = "GA"  # "top-level": the GA's, with `turn_detection` beside `audio`
    pcm: tuple[str, str] = ("pcm16", "pcm16")
    duplex: bool = False


DUPLEX = Dialect("top-level", duplex=True)


def dialect_of(first: Mapping[str, Any]) -> Dialect:
    """The dialect of a server, by its first event: `session.created`, or `conversation.created` (xAI).

    A session that tells nothing is taken for the GA's.
    """
    session = first.get("session")
    if not isinstance(session, Mapping):
        return Dialect("top-level" if first.get("type") == "conversation.created" else "GA")
    if "audio" not in session and any(key in session for key in ("input_audio_format", "modalities")):
        words = [session.get(f"{side}_audio_format") for side in ("input", "output")]
        heard, spoken = (word if isinstance(word, str) and word.startswith("pcm") else "pcm16" for word in words)
        return Dialect("beta", (heard, spoken))
    return Dialect("top-level" if "turn_detection" in session else "GA")


def check_duplex(created: Mapping[str, Any]) -> None:
    """Raises SystemFailure where a server that was asked for full duplex has fallen back to turns, as it does in silence."""
    session = created.get("session")
    if not isinstance(session, Mapping) or "capabilities" not in session:
        raise SystemFailure(
            "raised",
            "the server has no full duplex, though duplex=1 asks for it: deploy it with session_mode: duplex, or leave "
            "duplex=1 out of the address",
        )


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """What a conversation needs of the server. `more`: further fields of its session, which go before the others."""

    input: AudioFormat
    output: AudioFormat
    turn_detection: TurnDetection = "server_vad"
    instructions: str | None = None
    voice: str | None = None
    transcription: str | None = None  # the model that transcribes the user; None: not asked for
    text_only: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self, dialect: Dialect) -> dict[str, Any]:
        """The configuration for `session.update`, in the server's dialect."""
        by_server = not self.text_only and self.turn_detection in ("server_vad", "semantic_vad")
        detection: dict[str, Any] | None = {"type": self.turn_detection} if by_server else None
        transcription = {"model": self.transcription} if self.transcription else None
        session: dict[str, Any] = {"instructions": self.instructions} if self.instructions else {}
        if dialect.shape == "beta":
            heard_as, spoken_as = (
                word if form.name == "pcm16" else form.name
                for word, form in zip(dialect.pcm, (self.input, self.output), strict=True)
            )
            session["modalities"] = ["text"] if self.text_only else ["text", "audio"]
            session |= {"input_audio_format": heard_as, "output_audio_format": spoken_as, "turn_detection": detection}
            session |= {"input_audio_transcription": transcription} if transcription else {}
            return merged(session | ({"voice": self.voice} if self.voice else {}), self.more)
        heard: dict[str, Any] = {"format": self.input.to_json()}
        if dialect.shape == "GA":
            heard["turn_detection"] = detection
        else:
            session["turn_detection"] = detection if detection or dialect.duplex else {"type": None}
        if transcription:
            heard["transcription"] = transcription
        spoken = {"format": self.output.to_json()} | ({"voice": self.voice} if self.voice else {})
        session |= {"type": "realtime", "output_modalities": ["text" if self.text_only else "audio"]}
        return merged(session | {"audio": {"input": heard, "output": spoken}}, self.more)


def merged(session: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """A session with further fields; those of tables that both have are merged."""
    for key, value in more.items():
        both = isinstance(value, Mapping) and isinstance(session.get(key), dict)
        session[key] = merged(session[key], value) if both else value
    return session


def wrong_audio(session: Mapping[str, Any], request: SessionRequest) -> str:
    """What a server's effective session says of audio, where it is not what was asked for; "" where it is."""
    audio = session.get("audio")
    if not isinstance(audio, Mapping):
        return ""
    wrong = []
    for side, option, wanted in (("input", "rate_hz", request.input), ("output", "output_rate_hz", request.output)):
        part = audio.get(side)
        form = part.get("format") if isinstance(part, Mapping) else None
        kind, rate = (form.get(key) if isinstance(form, Mapping) else None for key in ("type", "rate"))
        if isinstance(kind, str) and kind != wanted.to_json()["type"]:
            wrong.append(f"{side} as {kind[:40]}, not {wanted.to_json()['type']}: give its format by audio=")
        elif isinstance(rate, int) and rate != wanted.rate_hz and wanted.name == "pcm16":
            wrong.append(f"{side} at {rate} Hz, not {wanted.rate_hz}: give {option}={rate}")
    return "; ".join(wrong)
