"""Voice activity as runs of speech and silence, counted in windows of a detector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from fobench.api.types import Samples


class VoiceActivityDetector(Protocol):
    """A stream's voice activity detector: pushes of any length, the speech probability of each window that is complete."""

    def push(self, samples: Samples) -> Iterator[tuple[Samples, float]]: ...


@dataclass(slots=True)
class SpeechActivity:
    """The burst of speech that is going on, or was last; silence of `release` windows ends it."""

    release: int
    speech: int = 0  # windows of speech in this burst
    silence: int = 0  # windows of silence since the last speech

    def push(self, speech: bool) -> None:
        if speech:
            self.speech = 1 if self.silence >= self.release else self.speech + 1
            self.silence = 0
        else:
            self.silence += 1
