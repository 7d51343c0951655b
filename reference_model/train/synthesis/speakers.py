"""Speakers of rendered clips: voices and their shares, mixtures, speeds and pitches for training; held-out ones for
validation.

Kokoro's evaluation voices, which ask in the benchmark's suites, are in an asset of their own (`fobench/assets/assets.toml`);
training draws from the other one alone, and no speaking style can name one of them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from shutil import which
from typing import Any

from fobench.api import registry
from fobench.api.components import Voice
from fobench.assets import catalog
from fobench.errors import FobenchError

KOKORO = catalog.stems("kokoro-training-voices")
EVALUATION = frozenset(catalog.stems("kokoro-evaluation-voices"))
KOKORO_HELD_OUT = "jf_tebukuro"  # a Japanese accent; never in the training data, alone or in a mixture
ESPEAK = ("en-us", "en-gb", "en-gb-x-rp", "en-us+f3", "en-us+m3", "en-gb+f2", "en-029")
ESPEAK_HELD_OUT = "en-gb-scotland"
FLITE = ("slt", "awb", "rms", "kal")
SHARES = {"kokoro": 0.42, "piper": 0.3, "flite": 0.2, "espeak": 0.08}
FAST_SHARES = {"piper": 0.45, "flite": 0.45, "espeak": 0.1}  # for fast rendering of large sets
NATURAL_SHARES = {"kokoro": 1.0}
PROGRAMS = {"espeak": ("espeak-ng", "espeak"), "flite": ("flite",)}  # programs of which a voice needs one
MIXED_SHARE = 0.6  # of Kokoro's clips, spoken by a mixture of two speakers
PURE_UP_TO, PAIRS_UP_TO = (
    0.3,
    0.8,
)  # free mixtures: one speaker up to the first quantile, two up to the second, else three
CROSS_PROSODY_SHARE = 0.5  # of free mixtures, spoken with the prosody of another mixture
SPEEDS = (
    0.75,
    0.85,
    0.95,
    1.0,
    1.1,
    1.2,
    1.35,
)  # speeds requested of a voice; few, since each one is a model in memory
TEMPO = (0.85, 1.2)  # range of the effective speed, speed times pitch; 1: the voice's own
PITCHES = {  # factors on all frequencies, formants included
    "kokoro": (0.86, 1.16),
    "piper": (0.88, 1.3),
    "espeak": (0.9, 1.2),
    "flite": (0.88, 1.2),
}
UNCHANGED_PITCH_SHARE = 0.4  # of clips, at the voice's own pitch
NOISES = ((0.333, 0.333), (0.667, 0.8))  # Piper's noise_scale and noise_w
OUTPUT_NOISE = (0.333, 0.0)
WORDS_PER_MINUTE = 165  # espeak at speed 1


@dataclass(frozen=True, slots=True)
class SpeakingStyle:
    """Speaking style of a clip.

    `speed`: of the voice; `pitch`: factor on the playback rate; `noise`: Piper's noise_scale, noise_w. Raises `FobenchError`
    for a speaker or mixture with an evaluation voice.
    """

    voice: str
    speaker: str
    speed: float = 1.0
    pitch: float = 1.0
    noise: tuple[float, float] = (0.0, 0.0)
    held_out: bool = False

    def __post_init__(self) -> None:
        if found := EVALUATION & {*re.findall(r"\w+", self.speaker)}:
            raise FobenchError(
                f"{min(found)} asks in the benchmark's suites: no clip is rendered by it. Take one of {', '.join(KOKORO)}."
            )

    def options(self, threads: int) -> dict[str, Any]:
        """Returns the options of the voice plugin."""
        if self.voice == "espeak":
            return {"words_per_minute": round(WORDS_PER_MINUTE * self.speed)}
        if self.voice == "kokoro":
            return {"speed": self.speed, "threads": threads}
        rate = round(1 / self.speed, 4)
        if self.voice == "flite":
            return {"duration_stretch": rate}
        noise_scale, noise_w = self.noise
        return {"length_scale": rate, "noise_scale": noise_scale, "noise_w": noise_w, "threads": threads}


OUTPUT = SpeakingStyle("piper", "joe", noise=OUTPUT_NOISE)  # the fixed voice of replies


def available(shares: Mapping[str, float]) -> dict[str, float]:
    """Returns the shares of the voices that are available; some need an installed program."""
    return {name: share for name, share in shares.items() if name not in PROGRAMS or any(map(which, PROGRAMS[name]))}


def draw(rng: random.Random, voices: Mapping[str, float], free_mixing: bool = False) -> SpeakingStyle:
    """Draws a speaking style for training.

    `voices`: {name: share}; `free_mixing`: Kokoro speakers by `draw_free_mixture`.
    """
    voice = rng.choices(list(voices), list(voices.values()))[0]
    pitch = 1.0 if rng.random() < UNCHANGED_PITCH_SHARE else round(rng.uniform(*PITCHES[voice]), 3)
    target_speed = rng.uniform(*TEMPO) / pitch
    speed = min(SPEEDS, key=lambda speed: abs(speed - target_speed))
    noise = rng.choice(NOISES) if voice == "piper" else (0.0, 0.0)
    speaker = draw_free_mixture(rng) if free_mixing and voice == "kokoro" else _speaker(rng, voice)
    return SpeakingStyle(voice, speaker, speed, pitch, noise)


def draw_held_out(rng: random.Random, voices: Mapping[str, float]) -> SpeakingStyle:
    """Draws a speaking style of a held-out speaker, at its own pitch; any style if no voice has a held-out speaker."""
    if not {"kokoro", "espeak"} & voices.keys():
        return draw(rng, voices)
    if "kokoro" not in voices or ("espeak" in voices and rng.random() < 0.2):
        return SpeakingStyle("espeak", ESPEAK_HELD_OUT, held_out=True)
    return SpeakingStyle("kokoro", KOKORO_HELD_OUT, rng.choice((0.95, 1.0, 1.1)), held_out=True)


@lru_cache(maxsize=1)
def load(voice: str, options: tuple[tuple[str, Any], ...]) -> Voice:
    """Returns the voice plugin; only the last requested one stays in memory, so items should be ordered by voice."""
    plugin: Voice = registry.create("voices", voice, dict(options))
    return plugin


def _speaker(rng: random.Random, voice: str) -> str:
    if voice == "piper":
        return "joe"
    if voice == "espeak":
        return rng.choice(ESPEAK)
    if voice == "flite":
        return rng.choice(FLITE)
    if rng.random() >= MIXED_SHARE:
        return rng.choice(KOKORO)
    first, second = rng.sample(KOKORO, 2)
    share = round(rng.uniform(0.2, 0.8), 2)
    return f"{first}:{share}+{second}:{round(1 - share, 2)}"


def draw_free_mixture(rng: random.Random) -> str:
    """Draws a mixture of Kokoro's speakers, half of the time with the prosody of another mixture."""
    timbre = _mixture(rng)
    return f"{timbre}/{_mixture(rng)}" if rng.random() < CROSS_PROSODY_SHARE else timbre


def _mixture(rng: random.Random) -> str:
    """Draws one to three speakers with weights."""
    kind = rng.random()
    if kind < PURE_UP_TO:
        return rng.choice(KOKORO)
    names = rng.sample(KOKORO, 2 if kind < PAIRS_UP_TO else 3)
    return "+".join(f"{name}:{rng.gammavariate(1.2, 1) + 0.05:.2f}" for name in names)
