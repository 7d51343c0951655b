"""Acoustic echo: leakage of the system's playback from the loudspeaker into the user's microphone channel."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fobench import audio
from fobench.api.types import NS_PER_MS, AudioChunk, Samples, ns_to_samples, samples_to_ns
from fobench.errors import FobenchError
from fobench.simulation.playback import PlaybackBuffer

MIN_DELAY_NS = 10 * NS_PER_MS  # device and air delay; resampling needs this much look-ahead
DEFAULT_DELAY_MS = 80


@dataclass(frozen=True, slots=True)
class Echo:
    """An echo path: a gain `level_db` (0 dB or less) and a delay `delay_ns` (10 ms or more). Raises `FobenchError` otherwise."""

    level_db: float
    delay_ns: int = DEFAULT_DELAY_MS * NS_PER_MS

    def __post_init__(self) -> None:
        if not math.isfinite(self.level_db) or self.level_db > 0:
            raise FobenchError(f"--echo {self.level_db:g}: the level of an echo is at most 0 dB (as loud as played).")
        if self.delay_ns < MIN_DELAY_NS:
            raise FobenchError(
                f"--echo-delay {self.delay_ns // NS_PER_MS}: the delay of an echo is at least {MIN_DELAY_NS // NS_PER_MS} ms."
            )

    def render(self, playback: PlaybackBuffer, start: int, count: int, rate_hz: int) -> Samples:
        """The echo [count] in samples [start, start + count) at `rate_hz` of the audio played by then."""
        begin_ns = samples_to_ns(start, rate_hz) - self.delay_ns
        end_ns = begin_ns + samples_to_ns(count, rate_hz)
        first = ns_to_samples(begin_ns - MIN_DELAY_NS, playback.rate_hz)
        played = playback.render(first, ns_to_samples(end_ns + MIN_DELAY_NS, playback.rate_hz))
        resampled = audio.resample(AudioChunk(played, playback.rate_hz), rate_hz).samples
        skipped = ns_to_samples(begin_ns - samples_to_ns(first, playback.rate_hz), rate_hz)
        echo: Samples = resampled[skipped : skipped + count] * 10.0 ** (self.level_db / 20.0)
        return echo
