"""Sounds that are no speech, made from a seed: bursts, clatter, hum, pink noise, noise in the rhythm of speech, silence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fobench.api.types import NS_PER_S, AudioChunk, Samples
from fobench.errors import unknown

RATE_HZ = 24_000
RMS = 0.05  # -26 dBFS, about the level of the voices
FADE = RATE_HZ // 100  # 10 ms

Draw = np.random.Generator


def noise(kind: str, length_ns: int, seed: int) -> AudioChunk:
    """`kind` of noise, [length] at `RATE_HZ`, the same for the same seed. Raises `FobenchError` for an unknown kind."""
    if kind not in KINDS:
        raise unknown("noise", kind, (*KINDS, BABBLE))
    length = max(1, length_ns * RATE_HZ // NS_PER_S)
    return AudioChunk(KINDS[kind](length, np.random.default_rng(seed)), RATE_HZ)


def pink(length: int, draw: Draw) -> Samples:
    """Noise whose power falls with frequency, as rooms and streets sound."""
    spectrum = np.fft.rfft(draw.standard_normal(length))
    spectrum /= np.sqrt(np.maximum(1, np.arange(len(spectrum))))
    return levelled(np.fft.irfft(spectrum, length).astype(np.float32))


def burst(length: int, draw: Draw) -> Samples:
    """A knock or a clap: loud at once, then dying away."""
    return levelled(draw.standard_normal(length) * np.exp(-5.0 * np.arange(length) / length))


def clatter(length: int, draw: Draw) -> Samples:
    """Bursts of 100 ms, up to five in a second."""
    one, wave = RATE_HZ // 10, np.zeros(length)
    starts = [0, *draw.integers(0, max(1, length - one), max(0, 5 * length // RATE_HZ - 1))]
    for start in starts:
        piece = burst(min(one, length - start), draw)
        wave[start : start + len(piece)] += piece
    return levelled(wave)


def hum(length: int, draw: Draw) -> Samples:
    """A motor: a low tone with overtones."""
    hz, t = draw.uniform(80, 160), np.arange(length) / RATE_HZ
    return levelled(sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, 6)))


def murmur(length: int, draw: Draw) -> Samples:
    """Pink noise in the rhythm of syllables: as long and as loud as a sentence, and no word in it."""
    t = np.arange(length) / RATE_HZ
    return levelled(pink(length, draw) * (0.55 + 0.45 * np.cos(2 * np.pi * draw.uniform(3.5, 4.5) * t + np.pi)))


def silence(length: int, draw: Draw) -> Samples:
    return np.zeros(length, dtype=np.float32)


def levelled(wave: object) -> Samples:
    """[T] at an RMS of `RMS`, its ends faded over 10 ms at most, peaks clipped at full scale."""
    samples = np.asarray(wave, dtype=np.float64)
    samples = samples * (RMS / max(1e-9, float(np.sqrt(np.mean(np.square(samples))))))
    fade = min(FADE, len(samples) // 4)
    samples[len(samples) - fade :] *= np.linspace(1.0, 0.0, fade)
    return np.clip(samples, -1.0, 1.0).astype(np.float32)


BABBLE = "babble"  # of voices: made by the stage, which has them
KINDS: dict[str, Callable[[int, Draw], Samples]] = {
    "burst": burst,
    "clatter": clatter,
    "hum": hum,
    "pink": pink,
    "murmur": murmur,
    "silence": silence,
}
NAMES = (*KINDS, BABBLE)
