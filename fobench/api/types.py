"""The nouns that cross every boundary: audio chunks, events, scores, and the contracts of the components.

Time is integer nanoseconds or sample indices, never float seconds. The three clocks are defined in `fobench.simulation.clock`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
    """What a system can report. Only `AUDIO` and `DECISION` are needed; the others make more metrics possible."""

    SPEECH_START = "speech_start"  # the system hears the user begin
    SPEECH_END = "speech_end"  # the system hears the user pause or end
    TRANSCRIPT = "transcript"  # data.text: what the system understood the user to have said
    DECISION = "decision"  # data.action: see Action
    TOKEN = "token"  # data.text: a piece of the reply's text
    AUDIO = "audio"  # data.audio: AudioChunk of the reply; data.reply: its number, from 0; data.text: words it voices
    REPLY_END = "reply_end"  # data.reply: nothing more will come for this reply
    STATE = "state"  # data.p0, p1, p2: duplex state probabilities of a chunk
    BUSY = (
        "busy"  # a step of work with nothing to report, e.g. prefill; data.work names it, data.path: "input" | "output"
    )


class Action(StrEnum):
    """The action of a `DECISION`."""

    SPEAK = "speak"  # the turn is mine: a reply follows
    IGNORE = "ignore"  # the user's turn needs no answer
    YIELD = "yield"  # stop talking: whatever is not yet played is dropped


@dataclass(frozen=True, slots=True)
class Event:
    """Something a system did, on the three clocks (integer ns from the scenario's start).

    `media_ns`: position in the audio it is about (user audio consumed, or reply audio generated so far).
    `compute_ns`: when the computation that made it ended. `cost_ns`: how long that computation took.
    `playback_ns`: when a listener begins to hear it (audio only).
    Systems fill `kind`, `data` and, if they like, `media_ns`; the runner fills the rest.
    """

    kind: EventKind
    data: Mapping[str, Any] = field(default_factory=dict)
    media_ns: int | None = None
    compute_ns: int | None = None
    playback_ns: int | None = None
    cost_ns: int = 0

    def stamped(self, **times: int | None) -> Event:
        return replace(self, **times)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Score:
    """One metric's verdict on one scenario or, aggregated, on a run.

    `value` is None, with a `reason`, where the score cannot be given: never 0, never dropped, never clamped.
    `n` counts what the value rests on; `ci` is its 95 % interval; `detail` holds counts and named parts.
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
    """A recognised word and the sample-exact span of media time it was spoken in."""

    text: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a recogniser heard. `words` is empty where the recogniser gives no times."""

    text: str
    words: tuple[Word, ...] = ()
