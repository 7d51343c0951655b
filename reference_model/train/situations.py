"""Labelled situations for the state head: turns that end, pause, break off; murmurs, talk from afar, noise.

How the paper's authors made their state data is not published. Here each situation is made of clips of known kind:
    question    a clip and silence: the turn ends where the clip does, and wants an answer (state 1)
    paused      the same with a pause inside: to be waited out (state 0), then answered
    unfinished  the first part alone: nothing ends (state 0)
    backchannel a murmur such as "mm-hmm" (state 2)
    afar        speech across a room, to somebody else (state 2)
    noise       no speech at all (state 2)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.signal

from reference_model.state_head import State
from reference_model.train.augment import Augmentation, Samples, Sounds, spoken
from reference_model.train.corpus import Corpus

KINDS = {"question": 0.34, "paused": 0.2, "unfinished": 0.14, "backchannel": 0.14, "afar": 0.1, "noise": 0.08}
AFTER_S = 1.3  # of silence, or noise, after the last word
PAUSE_S = (0.5, 1.4)
AFAR_DB = (-24.0, -14.0)  # below the usual level
RULES = Augmentation(speed_chance=0.3, room_chance=0.2, noise_chance=0.5, noise_db=(10.0, 35.0), after_s=(0.0, 1e-6))


@dataclass(frozen=True, slots=True)
class Situation:
    """Audio [T] at 16 kHz; from `end_s` on the state is `state` (State.KEEP_LISTENING: it never changes)."""

    kind: str
    samples: Samples
    state: State
    end_s: float


def situation(corpus: Corpus, by_kind: dict[str, Sequence[int]], sounds: Sounds, rng: np.random.Generator) -> Situation:
    """One situation; `by_kind`: the clips of each kind of text."""
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    if kind == "noise":
        noise = sounds.noise(int(rng.uniform(0.6, 2.0) * sounds.rate_hz), rng)
        level = 10 ** (rng.uniform(-45.0, -22.0) / 20)
        return _ended(kind, (noise / (noise.std() + 1e-9) * level).astype(np.float32), State.IGNORE, sounds, rng)
    pool = by_kind["backchannel"] if kind == "backchannel" else by_kind["turn"]
    samples = corpus.samples(int(rng.choice(pool)))
    if samples is None:
        return situation(corpus, by_kind, sounds, rng)
    samples = trimmed(samples)
    if kind in ("paused", "unfinished"):
        cut = quietest(samples, sounds.rate_hz)
        if kind == "unfinished":
            return _ended(kind, samples[:cut], State.KEEP_LISTENING, sounds, rng)
        pause = np.zeros(int(rng.uniform(*PAUSE_S) * sounds.rate_hz), np.float32)
        samples = np.concatenate([samples[:cut], pause, samples[cut:]])
    state = State.ANSWER if kind in ("question", "paused") else State.IGNORE
    return _ended(kind, samples, state, sounds, rng, afar=kind == "afar")


def indices_by_kind(corpus: Corpus) -> dict[str, Sequence[int]]:
    """Which clips are murmurs, and which are turns that want an answer."""
    kinds = [entry.info.get("kind", "statement") for entry in corpus.entries]
    return {
        "backchannel": [i for i, kind in enumerate(kinds) if kind == "backchannel"],
        "turn": [i for i, kind in enumerate(kinds) if kind in ("question", "command", "interruption")],
    }


def trimmed(samples: Samples) -> Samples:
    """Without the silence before and after."""
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
    return samples[loud[0] : loud[-1] + 1] if len(loud) else samples


def quietest(samples: Samples, rate_hz: int) -> int:
    """The quietest place in the middle of a clip: between two words, more often than not."""
    energy = scipy.signal.fftconvolve(samples**2, np.ones(int(0.04 * rate_hz)), "same")
    low, high = int(0.3 * len(samples)), int(0.75 * len(samples))
    return low + int(energy[low:high].argmin())


def _ended(
    kind: str, samples: Samples, state: State, sounds: Sounds, rng: np.random.Generator, afar: bool = False
) -> Situation:
    """With what follows the last word, and recorded as speech is."""
    after = np.zeros(int(AFTER_S * sounds.rate_hz), np.float32)
    heard, _ = spoken(np.concatenate([samples, after]), RULES, sounds, rng)
    if afar:
        room = sounds.room(rng)
        heard = scipy.signal.fftconvolve(heard, room)[: len(heard)].astype(np.float32)
        heard = heard * np.float32(10 ** (rng.uniform(*AFAR_DB) / 20))
    return Situation(kind, heard, state, len(heard) / sounds.rate_hz - AFTER_S)
