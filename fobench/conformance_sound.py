"""Sound for the conformance suite: a spoken question where one is at hand, else something with the rhythm of speech."""

from __future__ import annotations

import numpy as np

from fobench import audio, plugins
from fobench.conformance import need
from fobench.errors import FobenchError
from fobench.types import AudioChunk, Samples

SYNTHETIC_HZ = 16_000
SYNTHETIC_S = 2.0


def speech() -> tuple[AudioChunk, str | None]:
    """(a clean utterance, its text or None): the first spoken question of `spoken-qa`, or a synthetic sound without words."""
    try:
        scenario = next(plugins.create("suites", "spoken-qa").scenarios(0))
    except FobenchError:
        return synthetic(), None
    return audio.load(scenario.turns[0].audio), scenario.turns[0].text


def synthetic() -> AudioChunk:
    """Two seconds of a voice-like buzz in four syllables a second."""
    t = np.arange(int(SYNTHETIC_S * SYNTHETIC_HZ)) / SYNTHETIC_HZ
    buzz = sum(np.cos(2 * np.pi * 130 * n * t) / n for n in range(1, 24))
    wave = 0.08 * buzz * (0.55 - 0.45 * np.cos(2 * np.pi * 4 * t))
    return AudioChunk(wave.astype(np.float32), SYNTHETIC_HZ)


def need_sound(samples: object, what: str) -> Samples:
    """The samples, if they are float32 [T], finite and in [-1, 1]; raises `Broken` naming `what` otherwise."""
    need(isinstance(samples, np.ndarray), f"{what}: samples must be a numpy array, not {type(samples).__name__}")
    assert isinstance(samples, np.ndarray)
    need(samples.ndim == 1, f"{what}: samples must be [T], not {list(samples.shape)}")
    need(samples.dtype == np.float32, f"{what}: samples must be float32, not {samples.dtype}")
    need(np.isfinite(samples).all(), f"{what}: holds values that are not finite (NaN or infinite)")
    if len(samples):
        peak = float(np.abs(samples).max())
        need(peak <= 1.0, f"{what}: must lie in [-1, 1]; its peak is {peak:.3g}")
    return samples


def need_count(value: object, what: str) -> None:
    """Raises `Broken` unless `value` is a positive int."""
    need(isinstance(value, int) and not isinstance(value, bool) and value > 0, f"{what} must be an int > 0, not {value!r}")
