"""Basic types that all components exchange: audio chunks, events, scores and transcripts.

Time is integer nanoseconds or sample indices, never float seconds. The three clocks are defined in `fobench.simulation.clock`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": ...}

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


def samples_to_ns(samples: int, rate_hz: int) -> int:
    """Duration of `samples` at `rate_hz` in nanoseconds, rounded down (exact integers, no drift)."""
    return samples * NS_PER_S // rate_hz


def ns_to_samples(ns: int, rate_hz: int) -> int:
    """Index of the first sample at or after `ns` at `rate_hz`: the inverse of `samples_to_ns`."""
    return -(-ns * rate_hz // NS_PER_S)


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """Mono audio: `samples` float32 [T] in [-1, 1] at `rate_hz`; `start` is the index of its first sample in its stream."""

    samples: Samples
    rate_hz: int
    start: int = 0

    @property
    def duration_ns(self) -> int:
        return samples_to_ns(len(self.samples), self.rate_hz)


class EventKind(StrEnum):
    """The kinds of events of a system. Only `AUDIO` and `DECISION` are required; the others enable further metrics."""

    SPEECH_START = "speech_start"  # the system detects the start of user speech
    SPEECH_END = "speech_end"  # the system detects a pause or the end of user speech
    TRANSCRIPT = "transcript"  # data.text: the system's transcript of the user
    DECISION = "decision"  # data.action: see Action
    TOKEN = "token"  # data.text: a piece of the reply's text
    AUDIO = "audio"  # data.audio: AudioChunk of the reply; data.reply: its number, from 0; data.text: words it voices
    REPLY_END = "reply_end"  # data.reply: the reply is complete
    STATE = "state"  # data.p0, p1, p2: duplex state probabilities of a chunk
    BUSY = (
        "busy"  # a step of work with nothing to report, e.g. prefill; data.work names it, data.path: "input" | "output"
    )


class Action(StrEnum):
    """The action of a `DECISION`."""

    SPEAK = "speak"  # take the turn: a reply follows
    IGNORE = "ignore"  # the user's turn needs no reply
    YIELD = "yield"  # stop talking: whatever is not yet played is dropped


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a system, with its three times (integer ns from the scenario's start).

    `media_ns`: position in the audio (user audio consumed, or reply audio generated so far).
    `compute_ns`: end of its computation. `cost_ns`: duration of its computation.
    `playback_ns`: start of its playback (audio only).
    Systems set `kind`, `data` and optionally `media_ns`; the runner sets the rest.
    """

    kind: EventKind
    data: Mapping[str, Any] = field(default_factory=dict)
    media_ns: int | None = None
    compute_ns: int | None = None
    playback_ns: int | None = None
    cost_ns: int = 0


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one metric for a scenario or, aggregated, for a run.

    `value` is None, with a `reason`, if the score is undefined: never 0, never dropped, never clamped.
    `n`: number of underlying observations; `ci`: 95 % interval; `detail`: counts and components.
    """

    metric: str
    version: int
    value: float | None
    unit: str
    n: int
    better: Literal["higher", "lower", "none"] = "none"
    reason: str = ""
    ci: tuple[float, float] | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Word:
    """A recognized word and its span in media time."""

    text: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Transcript:
    """The output of a recognizer. `words` is empty if it has no word times."""

    text: str
    words: tuple[Word, ...] = ()
