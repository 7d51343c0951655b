"""The level of speech, a near-field gate by level, and an energy-based voice activity detector.

The detector needs no model and no download; any sound counts as speech, so it is for quiet rooms and tests.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from fobench.api.types import Samples

WINDOW = 512  # samples at 16 kHz, 32 ms, as in Silero VAD
SPEECH_DBFS = -45.0  # minimum RMS of a window of speech; the threshold of audible playback
NEARBY = 12  # windows of speech over which the level is measured


@dataclass(slots=True)
class PeakLevel:
    """The maximum level, in dBFS, of `NEARBY` successive windows of speech."""

    db: float = -math.inf
    _powers: deque[float] = field(default_factory=lambda: deque(maxlen=NEARBY))

    def push(self, window: Samples) -> None:
        """Append a window of speech."""
        self._powers.append(float(np.mean(np.square(window, dtype=np.float64))))
        power = sum(self._powers) / len(self._powers)
        self.db = max(self.db, 10 * math.log10(max(power, 1e-12)))


@dataclass(slots=True)
class NearFieldGate:
    """Whether the talker may be the user: at most `within_db` softer than the user was in the turns that were answered."""

    within_db: float
    user_db: float | None = None  # None: no turn was answered yet, and every talker passes

    def of(self, speech: PeakLevel) -> bool:
        """Whether a turn of this level may be the user's."""
        return self.user_db is None or speech.db >= self.user_db - self.within_db

    def answered(self, speech: PeakLevel) -> None:
        """Update the user's level by a turn that was answered, with a weight of one half."""
        self.user_db = speech.db if self.user_db is None else (self.user_db + speech.db) / 2


class EnergyVAD:
    """One stream, as `VoiceActivityDetector`; the probability is 0.0 or 1.0."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, dtype=np.float32)

    def push(self, samples: Samples) -> Iterator[tuple[Samples, float]]:
        """Samples [N] -> each window [WINDOW] that is now complete, and the probability of speech in it."""
        self._rest = np.concatenate([self._rest, samples])
        while len(self._rest) >= WINDOW:
            window, self._rest = self._rest[:WINDOW], self._rest[WINDOW:]
            power = float(np.mean(np.square(window, dtype=np.float64)))
            yield window, float(power > 10 ** (SPEECH_DBFS / 10))
