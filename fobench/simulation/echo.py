"""Echo: what a microphone hears of the loudspeaker. The system's own playback leaks into the user's channel."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fobench import audio
from fobench.api.types import NS_PER_MS, AudioChunk, Samples, ns_to_samples, samples_to_ns
from fobench.errors import FobenchError
from fobench.simulation.playback import PlaybackBuffer

LEAST_DELAY_NS = 10 * NS_PER_MS  # the way through devices and air; resampling looks so far ahead
DEFAULT_DELAY_MS = 80


@dataclass(frozen=True, slots=True)
class Echo:
    """Playback, `level_db` louder (negative: softer) and `delay_ns` later. Raises `FobenchError` for what no room does."""

    level_db: float
    delay_ns: int = DEFAULT_DELAY_MS * NS_PER_MS

    def __post_init__(self) -> None:
        if not math.isfinite(self.level_db) or self.level_db > 0:
            raise FobenchError(f"--echo {self.level_db:g}: the level of an echo is 0 dB (as loud as played) or less.")
        if self.delay_ns < LEAST_DELAY_NS:
            raise FobenchError(
                f"--echo-delay {self.delay_ns // NS_PER_MS}: an echo comes after {LEAST_DELAY_NS // NS_PER_MS} ms at least."
            )

    def of(self, playback: PlaybackBuffer, start: int, count: int, rate_hz: int) -> Samples:
        """The echo in samples [start, start + count) at `rate_hz`, of what has been played by then: [count]."""
        begin_ns = samples_to_ns(start, rate_hz) - self.delay_ns
        end_ns = begin_ns + samples_to_ns(count, rate_hz)
        first = ns_to_samples(begin_ns - LEAST_DELAY_NS, playback.rate_hz)
        played = playback.render(first, ns_to_samples(end_ns + LEAST_DELAY_NS, playback.rate_hz))
        heard = audio.resample(AudioChunk(played, playback.rate_hz), rate_hz).samples
        skipped = ns_to_samples(begin_ns - samples_to_ns(first, playback.rate_hz), rate_hz)
        echo: Samples = heard[skipped : skipped + count] * 10.0 ** (self.level_db / 20.0)
        return echo
