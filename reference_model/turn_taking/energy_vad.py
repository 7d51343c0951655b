"""How loud speech is, whether it is as near as the user, and voice activity by loudness alone.

The latter needs no model and no download; any sound counts as speech, so it is for quiet rooms and tests.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from fobench.api.types import Samples

WINDOW = 512  # samples at 16 kHz, 32 ms: that of Silero
SPEECH_DBFS = -45.0  # root mean square of a window of speech; what playback counts as audible
NEARBY = 12  # windows of speech over which loudness is measured


@dataclass(slots=True)
class PeakLevel:
    """The loudest that any `NEARBY` windows of speech in a row were, dBFS."""

    db: float = -math.inf
    _powers: deque[float] = field(default_factory=lambda: deque(maxlen=NEARBY))

    def push(self, window: Samples) -> None:
        """A window of speech."""
        self._powers.append(float(np.mean(np.square(window, dtype=np.float64))))
        power = sum(self._powers) / len(self._powers)
        self.db = max(self.db, 10 * math.log10(max(power, 1e-12)))


@dataclass(slots=True)
class NearFieldGate:
    """Whether it may be the user who speaks: no more than `within_db` softer than the user was in the turns that were answered."""

    within_db: float
    user_db: float | None = None  # None: no turn was answered yet, and everybody is near

    def of(self, speech: PeakLevel) -> bool:
        return self.user_db is None or speech.db >= self.user_db - self.within_db

    def answered(self, speech: PeakLevel) -> None:
        """The user's own: half of what is known from now on."""
        self.user_db = speech.db if self.user_db is None else (self.user_db + speech.db) / 2


class EnergyVAD:
    """One stream: push audio of any length, get 1.0 or 0.0 for every full window."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, dtype=np.float32)

    def push(self, samples: Samples) -> Iterator[tuple[Samples, float]]:
        """(window [WINDOW], probability of speech) for each window that is now complete."""
        self._rest = np.concatenate([self._rest, samples])
        while len(self._rest) >= WINDOW:
            window, self._rest = self._rest[:WINDOW], self._rest[WINDOW:]
            power = float(np.mean(np.square(window, dtype=np.float64)))
            yield window, float(power > 10 ** (SPEECH_DBFS / 10))
