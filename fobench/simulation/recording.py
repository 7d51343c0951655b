"""The recording of a scenario: user and system as stereo audio, and the audio of the reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fobench import audio
from fobench.api.scenario import Scenario
from fobench.api.trace import Failure, Trace
from fobench.api.types import NS_PER_MS, NS_PER_S, AudioChunk, Samples


@dataclass(frozen=True, slots=True)
class Recording:
    """A replayed scenario: its trace, both channels as played, and the measured compute time of the system in ns."""

    trace: Trace
    user: AudioChunk
    system: AudioChunk
    system_ns: int


def unplayed(
    scenario: Scenario, failure: Failure, clock_name: Literal["virtual", "wall"], costs_name: str, rate_hz: int
) -> Recording:
    """The recording of a scenario that could not be played: one second of silence, and the failure."""
    trace = Trace(scenario, clock_name, costs_name, NS_PER_S, failure=failure)
    silence = AudioChunk(np.zeros(rate_hz, dtype=np.float32), rate_hz)
    return Recording(trace, silence, silence, 0)


def reply_audio(recording: Recording) -> AudioChunk:
    """The played audio of the reply to the question with 200 ms around it; empty without a reply."""
    reply = recording.trace.answer
    system = recording.system
    if reply is None or reply.audible_start_ns is None or reply.audible_end_ns is None:
        return AudioChunk(np.zeros(0, dtype=np.float32), system.rate_hz)
    margin = 200 * NS_PER_MS
    first = max(0, (reply.audible_start_ns - margin) * system.rate_hz // NS_PER_S)
    last = (reply.audible_end_ns + margin) * system.rate_hz // NS_PER_S
    return AudioChunk(system.samples[first:last], system.rate_hz, first)


def stereo(recording: Recording) -> Samples:
    """Stereo audio [T, 2] at the system's output rate: left the user, right the system as played."""
    left = audio.resample(recording.user, recording.system.rate_hz).samples
    right = recording.system.samples
    both = np.zeros((max(len(left), len(right)), 2), dtype=np.float32)
    both[: len(left), 0] = left
    both[: len(right), 1] = right
    return both
