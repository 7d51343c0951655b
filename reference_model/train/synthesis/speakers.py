"""Who speaks: voices and their shares, mixtures, speeds and pitches for training, and those kept aside for validation."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from shutil import which
from typing import Any

from fobench.api import registry
from fobench.api.components import Voice

KOKORO = ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jm_kumo")
KOKORO_HELD_OUT = "jf_tebukuro"  # also a speaker of spoken-qa: one that training never hears, alone or in a mixture
ESPEAK = ("en-us", "en-gb", "en-gb-x-rp", "en-us+f3", "en-us+m3", "en-gb+f2", "en-029")
ESPEAK_HELD_OUT = "en-gb-scotland"
FLITE = ("slt", "awb", "rms", "kal")
SHARES = {"kokoro": 0.42, "piper": 0.3, "flite": 0.2, "espeak": 0.08}
FAST_SHARES = {"piper": 0.45, "flite": 0.45, "espeak": 0.1}  # of many clips in little time
NATURAL_SHARES = {"kokoro": 1.0}
PROGRAMS = {"espeak": ("espeak-ng", "espeak"), "flite": ("flite",)}  # that a voice needs one of
MIXED = 0.6  # share of Kokoro's clips that two speakers are mixed in
PURE, PAIRS = 0.3, 0.8  # of freely mixed ones: one speaker up to the first, two up to the second, else three
BORROWED = 0.5  # share of them that are spoken with another mixture's prosody
MAN = KOKORO[3]  # the only one: he is in more of these mixtures than chance would have him
SPEEDS = (0.75, 0.85, 0.95, 1.0, 1.1, 1.2, 1.35)  # that a voice is asked for; few, since each is a model in memory
TEMPO = (0.85, 1.2)  # what is heard, from speed and pitch together; 1: the voice's own
PITCHES = {  # factors on frequency, formants too
    "kokoro": (0.86, 1.16),
    "piper": (0.88, 1.3),
    "espeak": (0.9, 1.2),
    "flite": (0.88, 1.2),
}
UNCHANGED = 0.4  # share of clips at the voice's own pitch
NOISES = ((0.333, 0.333), (0.667, 0.8))  # Piper's noise_scale and noise_w
OUTPUT_NOISE = (0.333, 0.0)
WORDS_PER_MINUTE = 165  # of espeak at speed 1


@dataclass(frozen=True, slots=True)
class SpeakingStyle:
    """How a text is spoken. `speed` is asked of the voice; `pitch` is then a change of playing rate; `noise`: Piper's."""

    voice: str
    speaker: str
    speed: float = 1.0
    pitch: float = 1.0
    noise: tuple[float, float] = (0.0, 0.0)
    held_out: bool = False

    def options(self, threads: int) -> dict[str, Any]:
        """What the voice plugin is made with."""
        if self.voice == "espeak":
            return {"words_per_minute": round(WORDS_PER_MINUTE * self.speed)}
        if self.voice == "kokoro":
            return {"speed": self.speed, "threads": threads}
        rate = round(1 / self.speed, 4)
        if self.voice == "flite":
            return {"duration_stretch": rate}
        noise_scale, noise_w = self.noise
        return {"length_scale": rate, "noise_scale": noise_scale, "noise_w": noise_w, "threads": threads}


OUTPUT = SpeakingStyle("piper", "joe", noise=OUTPUT_NOISE)  # the reply's voice: always the same


def available(shares: Mapping[str, float]) -> dict[str, float]:
    """The shares of the voices that this machine can render with: some need a program that must be installed."""
    return {name: share for name, share in shares.items() if name not in PROGRAMS or any(map(which, PROGRAMS[name]))}


def draw(rng: random.Random, voices: Mapping[str, float], freely: bool = False) -> SpeakingStyle:
    """A manner for training. `voices`: {name: share}; `freely`: Kokoro's speakers mixed in every way (`free_speaker`)."""
    voice = rng.choices(list(voices), list(voices.values()))[0]
    pitch = 1.0 if rng.random() < UNCHANGED else round(rng.uniform(*PITCHES[voice]), 3)
    wanted = rng.uniform(*TEMPO) / pitch
    speed = min(SPEEDS, key=lambda known: abs(known - wanted))
    noise = rng.choice(NOISES) if voice == "piper" else (0.0, 0.0)
    speaker = free_speaker(rng) if freely and voice == "kokoro" else _speaker(rng, voice)
    return SpeakingStyle(voice, speaker, speed, pitch, noise)


def draw_held_out(rng: random.Random, voices: Mapping[str, float]) -> SpeakingStyle:
    """A manner of a speaker that training never hears, at its own pitch; any manner where no voice has such a speaker."""
    if not {"kokoro", "espeak"} & voices.keys():
        return draw(rng, voices)
    if "kokoro" not in voices or ("espeak" in voices and rng.random() < 0.2):
        return SpeakingStyle("espeak", ESPEAK_HELD_OUT, held_out=True)
    return SpeakingStyle("kokoro", KOKORO_HELD_OUT, rng.choice((0.95, 1.0, 1.1)), held_out=True)


@lru_cache(maxsize=1)
def load(voice: str, options: tuple[tuple[str, Any], ...]) -> Voice:
    """The voice; only the last one asked for stays in memory, so order the work by it."""
    loaded: Voice = registry.create("voices", voice, dict(options))
    return loaded


def _speaker(rng: random.Random, voice: str) -> str:
    if voice == "piper":
        return "joe"
    if voice == "espeak":
        return rng.choice(ESPEAK)
    if voice == "flite":
        return rng.choice(FLITE)
    if rng.random() >= MIXED:
        return rng.choice(KOKORO)
    first, second = rng.sample(KOKORO, 2)
    share = round(rng.uniform(0.2, 0.8), 2)
    return f"{first}:{share}+{second}:{round(1 - share, 2)}"


def free_speaker(rng: random.Random) -> str:
    """A mixture of Kokoro's speakers, half of the time with the prosody of another."""
    sound = _mixture(rng)
    return f"{sound}/{_mixture(rng)}" if rng.random() < BORROWED else sound


def _mixture(rng: random.Random) -> str:
    """One to three speakers, the man among them more often than not."""
    kind, others = rng.random(), [name for name in KOKORO if name != MAN]
    if kind < PURE:
        return rng.choice([*KOKORO, MAN, MAN])
    count = 2 if kind < PAIRS else 3
    names = rng.sample(KOKORO, count) if rng.random() < 0.4 else [MAN, *rng.sample(others, count - 1)]
    return "+".join(f"{name}:{rng.gammavariate(1.2, 1) + 0.05:.2f}" for name in names)
