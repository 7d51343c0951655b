"""A system's own voice in its microphone: recognised by correlation with what it is playing, then taken out.

Nothing is taken out before an echo has been recognised once. The echo is one delayed and scaled copy of the playback: rooms with
long reverberation, and loudspeakers that distort, need more than this.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fobench import audio
from fobench.api.types import AudioChunk, Samples

LONGEST_S = 0.5  # delay of an echo that is looked for
ALIKE = 0.5  # correlation from which a sound is the own voice
LEAST_S = 0.1  # of playback that a sound is compared with


@dataclass(slots=True)
class EchoCanceller:
    """The playback of the latest reply on the microphone's timeline, at `rate_hz`, and what is known of its echo."""

    rate_hz: int
    number: int = -1
    wave: Samples = field(default_factory=lambda: np.zeros(0, np.float32))  # of the reply from its first sample on
    start: int | None = None  # where it began, in samples of the microphone
    delay: int = 0
    gain: float = 0.0  # 0: no echo is known
    _told: int = 0  # samples of the reply that were played when last told

    def play(self, number: int, chunk: AudioChunk) -> None:
        """More of a reply is going to be played."""
        if number != self.number:
            self.number, self.wave, self.start, self._told = number, np.zeros(0, np.float32), None, 0
        self.wave = np.concatenate([self.wave, audio.resample(chunk, self.rate_hz).samples])

    def heard(self, number: int, samples: int, rate_hz: int, position: int, since: int) -> None:
        """By `position` so many samples of the reply were played, at `rate_hz`; `since`: the microphone's since last told.

        Where it began is the latest that fits, since such news may be late. Told when it paused or ended, it does not fit.
        """
        if number != self.number:
            return
        played, self._told = (samples - self._told) * self.rate_hz // rate_hz, samples
        if played >= since - 1:
            begun = position - samples * self.rate_hz // rate_hz
            self.start = begun if self.start is None else max(self.start, begun)

    def stop(self, samples: int, rate_hz: int) -> None:
        """What comes after so many samples is not played."""
        self.wave = self.wave[: samples * self.rate_hz // rate_hz]

    def clean(self, samples: Samples, first: int) -> Samples:
        """The microphone's samples from `first` on without the echo, as far as it is known."""
        if not self.gain or self.start is None:
            return samples
        cleaned: Samples = samples - np.float32(self.gain) * self._played(first - self.delay, len(samples))
        return cleaned

    def recognise(self, samples: Samples, first: int) -> bool:
        """Whether the sound from `first` on is the own voice; if so, its delay and level are known from now on."""
        if self.start is None:
            return False
        longest = round(LONGEST_S * self.rate_hz)
        played = self._played(first - longest, len(samples) + longest)
        if np.count_nonzero(played) < LEAST_S * self.rate_hz:
            return False
        delay, alike, gain = _match(samples.astype(np.float64), played.astype(np.float64))
        if alike < ALIKE:
            return False
        self.delay, self.gain = longest - delay, gain
        return True

    def _played(self, first: int, count: int) -> Samples:
        """[count] of the playback from the microphone's sample `first` on; zeros where nothing was played."""
        found = np.zeros(count, dtype=np.float32)
        begin = first - (self.start or 0)
        low, high = max(0, begin), min(len(self.wave), begin + count)
        if low < high:
            found[low - begin : high - begin] = self.wave[low:high]
        return found


def _match(heard: np.ndarray, played: np.ndarray) -> tuple[int, float, float]:
    """(offset in `played` [T + L] at which it is most like `heard` [T], correlation there, level of `heard` against it)."""
    size = len(played) + len(heard)
    spectra = np.fft.rfft(played, size) * np.conj(np.fft.rfft(heard, size))
    products = np.fft.irfft(spectra, size)[: len(played) - len(heard) + 1]
    energy = np.concatenate([[0.0], np.cumsum(played**2)])
    powers = np.maximum(energy[len(heard) :] - energy[: len(energy) - len(heard)], 1e-9)
    alike = products / np.sqrt(powers * max(float(np.sum(heard**2)), 1e-9))
    best = int(np.argmax(alike))
    return best, float(alike[best]), float(products[best] / powers[best])
