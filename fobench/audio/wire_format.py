"""Audio on the wire of the Realtime protocol: base64 of 16-bit PCM at a rate, or of the two laws of G.711 at 8 kHz."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fobench.api.types import Samples
from fobench.audio import g711
from fobench.errors import SystemFailure

FormatName = Literal["pcm16", "g711_ulaw", "g711_alaw"]
TYPES: dict[FormatName, str] = {
    "pcm16": "audio/pcm",
    "g711_ulaw": "audio/pcmu",
    "g711_alaw": "audio/pcma",
}  # name in the beta: in the GA
LAWS: dict[FormatName, str] = {"g711_ulaw": "ulaw", "g711_alaw": "alaw"}
TELEPHONE_HZ = 8_000


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """One direction's format. `name` is the beta's, which is one word for what the GA writes as a table."""

    name: FormatName
    rate_hz: int

    def to_json(self) -> dict[str, Any]:
        """The format as the GA writes it."""
        kind = TYPES[self.name]
        return {"type": kind, "rate": self.rate_hz} if self.name == "pcm16" else {"type": kind}

    def encode(self, samples: Samples) -> str:
        """float32 [T] in [-1, 1] -> base64."""
        law = LAWS.get(self.name)
        data = pcm16(samples) if law is None else g711.encode(samples, law)
        return base64.b64encode(data).decode("ascii")

    def decode(self, text: Any, rest: bytes = b"") -> tuple[Samples, bytes]:
        """Base64, after the odd byte left of the last piece -> (float32 [T] in [-1, 1], the odd byte left of this one).

        Raises SystemFailure (`bad_audio`) for what is not base64.
        """
        try:
            data = rest + base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            raise SystemFailure("bad_audio", f"audio that is not base64: {error}") from error
        law = LAWS.get(self.name)
        if law is not None:
            return g711.decode(data, law), b""
        whole = len(data) // 2 * 2
        return from_pcm16(data[:whole]), data[whole:]


def pcm16(samples: Samples) -> bytes:
    """float32 [T] in [-1, 1] -> 16-bit little-endian PCM."""
    return (np.clip(samples, -1.0, 1.0) * 32767.0).round().astype("<i2").tobytes()


def from_pcm16(data: bytes) -> Samples:
    """16-bit little-endian PCM, an even number of bytes -> float32 [T] in [-1, 1]."""
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768.0
