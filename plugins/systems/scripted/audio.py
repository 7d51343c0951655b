"""Audio of the scripted controls: sound detection and replies, exact to the sample.

Detection is by level: a 10 ms frame over -45 dBFS is sound, which begins and ends with its first and last loud samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fobench import audio
from fobench.api.types import AudioChunk, Event, EventKind, Samples

INPUT_HZ = 16_000
OUTPUT_HZ = 24_000
CHUNK = 320  # samples at INPUT_HZ: 20 ms
PACKET = CHUNK * OUTPUT_HZ // INPUT_HZ  # samples at OUTPUT_HZ: 20 ms
FRAME = INPUT_HZ // 100  # 10 ms
LOUD = 10.0 ** (audio.AUDIBLE_DBFS / 20.0)  # minimum RMS of a frame, and amplitude of a sample, of sound
LEAD = 5 * PACKET  # lead of a reply in real-time pace over its playback
NEVER = 1 << 62  # a sample index that is never reached


def samples(ms: int) -> int:
    """Milliseconds as samples at INPUT_HZ."""
    return ms * INPUT_HZ // 1000


def tone(ms: int, hz: int = 330, level: float = 0.2) -> Samples:
    """A sine of `ms` at OUTPUT_HZ, loud from its first sample on."""
    t = np.arange(ms * OUTPUT_HZ // 1000, dtype=np.float64)
    wave: Samples = (level * np.cos(2 * np.pi * hz * t / OUTPUT_HZ)).astype(np.float32)
    return wave


def babble(ms: int) -> Samples:
    """Noise in the rhythm of syllables (4 Hz), always the same: unintelligible speech-like audio."""
    t = np.arange(ms * OUTPUT_HZ // 1000)
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, len(t))
    wave: Samples = (noise * (0.6 + 0.4 * np.cos(2 * np.pi * 4 * t / OUTPUT_HZ))).astype(np.float32)
    return wave


@dataclass(slots=True)
class SoundDetector:
    """Detects sounds by level. Positions are samples at INPUT_HZ; the latest sound is [onset, end)."""

    hangover: int  # silence after which a sound has ended, in samples
    position: int = 0
    onset: int = 0
    end: int = 0
    sounding: bool = False

    def feed(self, chunk: Samples) -> EventKind | None:
        """Process a chunk; returns SPEECH_START or SPEECH_END if a sound has begun in it or has ended, else None."""
        was = self.sounding
        for first in range(0, len(chunk), FRAME):
            self._frame(chunk[first : first + FRAME], self.position + first)
        self.position += len(chunk)
        if self.sounding and self.position - self.end >= self.hangover:
            self.sounding = False
        if self.sounding == was:
            return None
        return EventKind.SPEECH_START if self.sounding else EventKind.SPEECH_END

    def _frame(self, frame: Samples, start: int) -> None:
        if np.sqrt(np.mean(np.square(frame))) < LOUD:
            return
        loud = np.flatnonzero(np.abs(frame) >= LOUD)
        if not self.sounding:
            self.sounding, self.onset = True, start + int(loud[0])
        self.end = start + int(loud[-1]) + 1


@dataclass(slots=True)
class ScriptedReply:
    """A reply in progress, played from `start` to `stop` (input samples); `made` output samples have been sent."""

    number: int
    start: int
    wave: Samples  # at OUTPUT_HZ
    words: list[str]
    endless: bool = False
    made: int = 0

    @property
    def stop(self) -> int:
        return NEVER if self.endless else self.start + len(self.wave) * INPUT_HZ // OUTPUT_HZ

    def packet(self) -> Event:
        """The next 20 ms of audio, with the words that begin in it."""
        if self.endless:
            wave = np.resize(np.roll(self.wave, -(self.made % len(self.wave))), PACKET)
            words = self.words[self.made // PACKET : self.made // PACKET + 1]
        else:
            wave = self.wave[self.made : self.made + PACKET]
            words = self.words[self._word(self.made) : self._word(self.made + PACKET)]
        data: dict[str, Any] = {"audio": AudioChunk(wave, OUTPUT_HZ, self.made), "reply": self.number}
        if words:
            data["text"] = " ".join(words)
        self.made += len(wave)
        return Event(EventKind.AUDIO, data)

    def _word(self, at: int) -> int:
        """The number of words that begin before output sample `at`, at even spacing."""
        return -(-min(at, len(self.wave)) * len(self.words) // max(1, len(self.wave)))
