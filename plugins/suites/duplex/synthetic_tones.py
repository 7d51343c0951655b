"""Turns of tones and noise whose first and last samples are known, for the scripted systems."""

from __future__ import annotations

from collections import Counter

import numpy as np

from fobench.api.scenario import Anchor, Turn
from fobench_plugins.suites.audio_turns import item_seed
from fobench_plugins.suites.controls import RATE_HZ, noise, tone, turn_from_samples
from fobench_plugins.suites.duplex.families import Kind
from fobench_plugins.suites.duplex.speaker_assignment import RNG_STREAMS, ROLES

LENGTHS_MS: dict[Kind, tuple[int, int]] = {
    "question": (1200, 2000),
    "request": (1200, 2000),
    "interrupt": (1200, 2000),
    "stop": (600, 900),
    "fragment": (800, 1200),
    "backchannel": (200, 300),
    "side_talk": (1500, 2500),
    "background": (2000, 3000),
    "noise_burst": (200, 300),
    "murmur": (1500, 2500),
    "silence": (3000, 5000),
}
NOISE_KINDS = ("noise_burst", "murmur")


class SyntheticTones:
    """`TurnFactory` with tones; `seed` determines lengths and pitches."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._calls: Counter[str] = Counter()
        self.answers: tuple[str, ...] = ()
        self.tags: dict[str, str] = {}

    def turn(self, kind: Kind, anchor: Anchor) -> Turn:
        rng = self._rng(RNG_STREAMS.get(kind, kind))
        low, high = LENGTHS_MS[kind]
        length, hz = int(rng.integers(low, high + 1)) * RATE_HZ // 1000, int(rng.integers(180, 320))
        name, wave = f"tone-{hz}-{length}-0", tone(length, hz)
        if kind == "silence":
            name, wave = f"silence-{length}", np.zeros(length, np.float32)
        elif kind in NOISE_KINDS:
            name, wave = f"noise-{hz}-{length}", noise(length, hz)
        return turn_from_samples(name, wave, role=ROLES.get(kind, kind), anchor=anchor)

    def ms(self, low: int, high: int) -> int:
        return int(self._rng("ms").integers(low // 10, high // 10 + 1)) * 10

    def _rng(self, stream: str) -> np.random.Generator:
        self._calls[stream] += 1
        return np.random.default_rng(item_seed(self._seed, f"{stream}-{self._calls[stream]}"))
