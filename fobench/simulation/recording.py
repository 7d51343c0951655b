"""What a scenario sounded like: the user and the system as a stereo recording, and the reply's audio."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fobench import audio
from fobench.api.trace import Trace
from fobench.api.types import NS_PER_MS, NS_PER_S, AudioChunk, Samples


@dataclass(frozen=True, slots=True)
class Recording:
    """A replayed scenario: its trace, both channels as heard, and the time that the system really took."""

    trace: Trace
    user: AudioChunk
    system: AudioChunk
    system_ns: int


def reply_audio(recording: Recording) -> AudioChunk:
    """What was heard of the reply to the question (silence kept inside, 200 ms around), or nothing if there was none."""
    reply = recording.trace.answer
    system = recording.system
    if reply is None or reply.audible_start_ns is None or reply.audible_end_ns is None:
        return AudioChunk(np.zeros(0, dtype=np.float32), system.rate_hz)
    margin = 200 * NS_PER_MS
    first = max(0, (reply.audible_start_ns - margin) * system.rate_hz // NS_PER_S)
    last = (reply.audible_end_ns + margin) * system.rate_hz // NS_PER_S
    return AudioChunk(system.samples[first:last], system.rate_hz, first)


def stereo(recording: Recording) -> Samples:
    """[T, 2] at the system's output rate: left the user, right the system as heard."""
    left = audio.resample(recording.user, recording.system.rate_hz).samples
    right = recording.system.samples
    both = np.zeros((max(len(left), len(right)), 2), dtype=np.float32)
    both[: len(left), 0] = left
    both[: len(right), 1] = right
    return both
