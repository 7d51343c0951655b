"""Voice activity by loudness alone: no model, no download. Any sound counts as speech, so it is for quiet rooms and tests."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fobench.types import Samples

WINDOW = 512  # samples at 16 kHz, 32 ms: that of Silero
SPEECH_DBFS = -45.0  # root mean square of a window of speech; what playback counts as audible


class LoudnessDetector:
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
