"""Acoustic echo cancellation: the system's own voice in its microphone is recognized by correlation with the playback, and subtracted.

Nothing is subtracted before an echo has been recognized. The echo model is a single delayed and scaled copy of the playback: long
reverberation and loudspeaker distortion need a better one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fobench import audio
from fobench.api.types import AudioChunk, Samples

LONGEST_S = 0.5  # maximum delay of an echo
CORRELATION = 0.5  # normalized correlation from which a sound counts as an echo
LEAST_S = 0.1  # minimum playback that a sound is compared with
KEPT_S = 10.0  # playback that is kept after it was heard; the microphone is never compared with earlier playback


@dataclass(slots=True)
class EchoCanceller:
    """The playback of the latest reply on the timeline of the microphone, at `rate_hz`, and the estimate of its echo."""

    rate_hz: int
    number: int = -1  # of the latest reply
    wave: Samples = field(default_factory=lambda: np.zeros(0, np.float32))  # the reply, from sample `dropped` on
    dropped: int = 0  # samples of the reply that were heard long ago
    start: int | None = None  # start of its playback, in samples of the microphone
    delay: int = 0  # of the echo, in samples
    gain: float = 0.0  # 0: no echo was recognized
    _heard: int = 0  # samples of the reply in the latest report of `heard`

    def play(self, number: int, chunk: AudioChunk) -> None:
        """Register audio of a reply that is going to be played."""
        if number != self.number:
            self.number, self.wave, self.start, self._heard = number, np.zeros(0, np.float32), None, 0
            self.dropped = 0
        self.wave = np.concatenate([self.wave, audio.resample(chunk, self.rate_hz).samples])

    def heard(self, number: int, samples: int, rate_hz: int, position: int, since: int) -> None:
        """Register that at `position` of the microphone, `samples` of a reply were played, at `rate_hz`.

        `since`: microphone samples since the last report. Reports may be late, so the latest start that fits them is taken; a
        report during a pause or after the end of playback does not count.
        """
        if number != self.number:
            return
        played, self._heard = (samples - self._heard) * self.rate_hz // rate_hz, samples
        if played >= since - 1:
            start = position - samples * self.rate_hz // rate_hz
            self.start = start if self.start is None else max(self.start, start)
        old = samples * self.rate_hz // rate_hz - round(KEPT_S * self.rate_hz) - self.dropped
        if old > round(KEPT_S * self.rate_hz):
            self.wave, self.dropped = self.wave[old:].copy(), self.dropped + old

    def stop(self, samples: int, rate_hz: int) -> None:
        """Register that nothing of the reply is played after `samples`."""
        self.wave = self.wave[: max(0, samples * self.rate_hz // rate_hz - self.dropped)]

    def clean(self, samples: Samples, first: int) -> Samples:
        """Microphone samples [N], from position `first` on, minus the estimated echo."""
        if not self.gain or self.start is None:
            return samples
        cleaned: Samples = samples - np.float32(self.gain) * self._played(first - self.delay, len(samples))
        return cleaned

    def recognize(self, samples: Samples, first: int) -> bool:
        """Whether microphone samples [N] from position `first` on are an echo; if so, its delay and gain are estimated."""
        if self.start is None:
            return False
        longest = round(LONGEST_S * self.rate_hz)
        played = self._played(first - longest, len(samples) + longest)
        if np.count_nonzero(played) < LEAST_S * self.rate_hz:
            return False
        offset, correlation, gain = _match(samples.astype(np.float64), played.astype(np.float64))
        if correlation < CORRELATION:
            return False
        self.delay, self.gain = longest - offset, gain
        return True

    def _played(self, first: int, count: int) -> Samples:
        """The playback [count] from position `first` of the microphone on; zeros where nothing was played."""
        wave = np.zeros(count, dtype=np.float32)
        begin = first - (self.start or 0) - self.dropped
        low, high = max(0, begin), min(len(self.wave), begin + count)
        if low < high:
            wave[low - begin : high - begin] = self.wave[low:high]
        return wave


def _match(recorded: np.ndarray, played: np.ndarray) -> tuple[int, float, float]:
    """(offset in `played` [T + L] of the best match with `recorded` [T], normalized correlation there, gain of the match)."""
    size = len(played) + len(recorded)
    spectra = np.fft.rfft(played, size) * np.conj(np.fft.rfft(recorded, size))
    products = np.fft.irfft(spectra, size)[: len(played) - len(recorded) + 1]
    energy = np.concatenate([[0.0], np.cumsum(played**2)])
    powers = np.maximum(energy[len(recorded) :] - energy[: len(energy) - len(recorded)], 1e-9)
    correlation = products / np.sqrt(powers * max(float(np.sum(recorded**2)), 1e-9))
    best = int(np.argmax(correlation))
    return best, float(correlation[best]), float(products[best] / powers[best])
