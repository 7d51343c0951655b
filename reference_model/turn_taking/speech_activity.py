"""Speech activity as runs of speech and silence, in windows of a voice activity detector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from fobench.api.types import Samples


class VoiceActivityDetector(Protocol):
    """A streaming voice activity detector."""

    def push(self, samples: Samples) -> Iterator[tuple[Samples, float]]:
        """Samples [N] -> each window that is now complete, and the probability of speech in it."""


@dataclass(slots=True)
class SpeechActivity:
    """The current or latest burst of speech; `release` windows of silence end a burst."""

    release: int
    speech: int = 0  # windows of speech in this burst
    silence: int = 0  # windows of silence since the last speech

    def push(self, speech: bool) -> None:
        """Count a window."""
        if speech:
            self.speech = 1 if self.silence >= self.release else self.speech + 1
            self.silence = 0
        else:
            self.silence += 1
