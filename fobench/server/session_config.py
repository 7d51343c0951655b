"""The configuration of a served session: what clients ask for, in the shape of the Realtime protocol's GA or of its beta."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fobench.audio.wire_format import LAWS, TELEPHONE_HZ, TYPES, AudioFormat, FormatName

RATES_HZ = (8_000, 16_000, 24_000, 48_000)
DETECTIONS = ("server_vad", "semantic_vad")
DEFAULT_HZ = 24_000
PCM = AudioFormat("pcm16", DEFAULT_HZ)


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What holds for a session. `manual`: the client ends the user's turns, by commit and response.create."""

    input: AudioFormat = PCM
    output: AudioFormat = PCM
    detection: str = DETECTIONS[0]
    manual: bool = False
    text_only: bool = False

    def to_json(self, name: str, model: str) -> dict[str, Any]:
        """The effective session, in the GA's shape."""
        detection = (
            None if self.manual else {"type": self.detection, "create_response": True, "interrupt_response": True}
        )
        heard = {"format": self.input.to_json(), "turn_detection": detection, "transcription": {"model": model}}
        return {
            "type": "realtime",
            "object": "realtime.session",
            "id": name,
            "model": model,
            "output_modalities": ["text" if self.text_only else "audio"],
            "audio": {"input": heard, "output": {"format": self.output.to_json(), "voice": "default"}},
        }

    def updated(self, session: Any) -> SessionConfig:
        """The configuration after a `session.update`; fields that mean nothing here are passed over.

        Raises ValueError for a value that cannot hold.
        """
        if not isinstance(session, Mapping):
            raise ValueError("session must be an object")
        audio = _table(session, "audio")
        heard, spoken = _table(audio, "input"), _table(audio, "output")
        config = self
        if (form := heard.get("format", session.get("input_audio_format"))) is not None:
            config = replace(config, input=_format(form, "input"))
        if (form := spoken.get("format", session.get("output_audio_format"))) is not None:
            config = replace(config, output=_format(form, "output"))
        for place in (heard, session):
            if "turn_detection" in place:
                config = config._detecting(place["turn_detection"])
        modalities = session.get("output_modalities", session.get("modalities"))
        if modalities is not None:
            config = replace(config, text_only=_text_only(modalities))
        return config

    def _detecting(self, detection: Any) -> SessionConfig:
        if detection is None:
            return replace(self, manual=True)
        kind = detection.get("type", DETECTIONS[0]) if isinstance(detection, Mapping) else None
        if kind not in DETECTIONS:
            raise ValueError(f"turn_detection.type must be one of {', '.join(DETECTIONS)}, or turn_detection null")
        return replace(self, manual=False, detection=kind)


def _table(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise ValueError(f"{key} must be an object")
    return value or {}


def _format(form: Any, side: str) -> AudioFormat:
    """An audio format as the GA writes it, {type, rate}, or the beta, a word."""
    if isinstance(form, str):
        form = {"type": next((known for name, known in TYPES.items() if name == form), form)}
    kind = form.get("type") if isinstance(form, Mapping) else None
    name: FormatName | None = next((name for name, known in TYPES.items() if known == kind), None)
    if name is None:
        raise ValueError(f"audio.{side}.format.type must be one of {', '.join(TYPES.values())}")
    if name in LAWS:
        return AudioFormat(name, TELEPHONE_HZ)
    rate = form.get("rate") or DEFAULT_HZ
    if not isinstance(rate, int) or rate not in RATES_HZ:
        raise ValueError(f"audio.{side}.format.rate must be one of {', '.join(map(str, RATES_HZ))}")
    return AudioFormat(name, rate)


def _text_only(modalities: Any) -> bool:
    if not isinstance(modalities, list) or not modalities or not set(map(str, modalities)) <= {"text", "audio"}:
        raise ValueError('output_modalities must be ["audio"] or ["text"]')
    return "audio" not in modalities
