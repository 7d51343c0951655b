"""Augmentation of clean speech: speed, room impulse responses, noise, band limits, gain; SpecAugment masks on features.

Every draw comes from the generator passed in, so a clip is the same in every run of an epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal
import soxr

from fobench.audio.decoding import mix_down, open_sound
from fobench.audio.limits import MAX_DURATION_S
from fobench.errors import FobenchError

Samples = npt.NDArray[np.float32]
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au")  # of noises and room impulse responses


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Probabilities and ranges of the augmentation.

    With all probabilities 0 only the level and the padding with silence remain.
    """

    speed: tuple[float, float] = (0.9, 1.12)  # resampling factor: changes tempo, pitch and formants together
    speed_chance: float = 0.5
    room_chance: float = 0.3
    noise_chance: float = 0.5
    noise_db: tuple[float, float] = (3.0, 30.0)  # SNR
    band_chance: float = 0.15
    level_db: tuple[float, float] = (-38.0, -16.0)  # RMS level of the speech, dBFS
    before_s: tuple[float, float] = (0.0, 0.5)  # silence (plus noise) before the speech; below, after it
    after_s: tuple[float, float] = (0.25, 0.8)
    time_masks: int = 2
    time_mask_s: float = 0.15
    band_masks: int = 2
    band_mask: int = 14  # mel bands


@dataclass(slots=True)
class Sounds:
    """Noises and room impulse responses to draw from, each [T] at `rate_hz`."""

    rate_hz: int
    noises: list[Samples] = field(default_factory=list)
    rooms: list[Samples] = field(default_factory=list)

    @classmethod
    def read(cls, folders: Sequence[Path], rooms: Sequence[Path], rate_hz: int) -> Sounds:
        """Reads every audio file in the folders. Without any, noises and responses are synthesized."""
        noises = [_mono(path, rate_hz) for folder in folders for path in _files(folder)]
        return cls(
            rate_hz, noises, [_trim_response(_mono(path, rate_hz)) for folder in rooms for path in _files(folder)]
        )

    def noise(self, length: int, rng: np.random.Generator) -> Samples:
        """Returns noise [length]: a recorded one, or synthetic noise with a random spectral slope."""
        if self.noises and rng.random() < 0.6:
            noise = self.noises[rng.integers(len(self.noises))]
            start = rng.integers(max(1, len(noise) - length))
            return np.resize(noise[start : start + length], length)
        return colored_noise(length, rng.uniform(-2.0, 0.5), rng)

    def room(self, rng: np.random.Generator) -> Samples:
        """Returns a room impulse response whose first sample is the direct sound: a recorded one, or decaying noise."""
        if self.rooms and rng.random() < 0.5:
            return self.rooms[rng.integers(len(self.rooms))]
        length = int(self.rate_hz * rng.uniform(0.1, 0.5))
        tail = rng.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
        tail *= rng.uniform(0.02, 0.12)
        tail[0] = 1.0
        return tail.astype(np.float32)


def colored_noise(length: int, slope: float, rng: np.random.Generator) -> Samples:
    """Returns noise [length] of unit power whose power spectrum is proportional to frequency ** `slope`."""
    points = scipy.fft.next_fast_len(length, real=True)  # an FFT of prime length takes ten times as long
    spectrum = scipy.fft.rfft(rng.standard_normal(points, np.float32))
    shape = np.maximum(np.arange(len(spectrum), dtype=np.float32), 8.0) ** np.float32(slope / 2)
    noise = scipy.fft.irfft(spectrum * shape, points)[:length]
    return np.asarray(noise / (noise.std() + 1e-9), np.float32)


def augment(samples: Samples, rules: Augmentation, sounds: Sounds, rng: np.random.Generator) -> tuple[Samples, Samples]:
    """Augments speech [T]: returns (augmented [U], clean [U]); both are the same array where neither room, noise nor
    band limit was drawn."""
    if rng.random() < rules.speed_chance:
        samples = soxr.resample(samples, sounds.rate_hz, sounds.rate_hz / rng.uniform(*rules.speed), "MQ")
    before, after = (int(rng.uniform(*span) * sounds.rate_hz) for span in (rules.before_s, rules.after_s))
    clean = np.pad(samples, (before, after)).astype(np.float32)
    level = 10 ** (rng.uniform(*rules.level_db) / 20) / (samples.std() + 1e-6)
    clean *= min(level, 1.0 / (np.abs(clean).max() + 1e-6))
    augmented = clean
    if rng.random() < rules.room_chance:
        augmented = scipy.signal.fftconvolve(augmented, sounds.room(rng))[: len(augmented)].astype(np.float32)
    if rng.random() < rules.noise_chance:
        augmented = augmented + _scaled_noise(clean, rules, sounds, rng)
    if rng.random() < rules.band_chance:
        augmented = _band_limited(augmented, sounds.rate_hz, rng)
    return (clean if augmented is clean else np.clip(augmented, -1.0, 1.0)), clean


def spec_augment(features: Samples, rules: Augmentation, frame_s: float, rng: np.random.Generator) -> Samples:
    """Applies SpecAugment to log-mel features [F, mels]: random time and frequency masks are set to the mean."""
    features, mean = features.copy(), features.mean()
    frames, mels = features.shape
    for _ in range(rules.time_masks):
        width = rng.integers(0, max(1, int(rules.time_mask_s / frame_s)))
        begin = rng.integers(0, max(1, frames - width))
        features[begin : begin + width] = mean
    for _ in range(rules.band_masks):
        width = rng.integers(0, rules.band_mask)
        begin = rng.integers(0, max(1, mels - width))
        features[:, begin : begin + width] = mean
    return features


def _scaled_noise(clean: Samples, rules: Augmentation, sounds: Sounds, rng: np.random.Generator) -> Samples:
    noise = sounds.noise(len(clean), rng)
    level = clean.std() / (noise.std() + 1e-9)
    return (noise * level * 10 ** (-rng.uniform(*rules.noise_db) / 20)).astype(np.float32)


def _band_limited(samples: Samples, rate_hz: int, rng: np.random.Generator) -> Samples:
    """Applies a random band-pass, as of a telephone or a poor microphone."""
    low, high = rng.uniform(50, 300), rng.uniform(3000, 6500)
    filters: Any = scipy.signal.butter(4, (low, high), "bandpass", fs=rate_hz, output="sos")
    return np.asarray(scipy.signal.sosfilt(filters, samples), dtype=np.float32)


def _files(folder: Path) -> list[Path]:
    """FobenchError where the folder holds no audio file."""
    found = sorted(path for path in folder.rglob("[!.]*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise FobenchError(f"{folder} holds no audio file ({', '.join(SUFFIXES)}).")
    return found


def _mono(path: Path, rate_hz: int) -> Samples:
    """Reads the first `MAX_DURATION_S` of a file, mixed down. FobenchError where it cannot be read."""
    with open_sound(path) as sound:
        blocks = [mix_down(block) for block in sound.blocks(MAX_DURATION_S * sound.samplerate)]
        rate = sound.samplerate
    if not blocks:
        raise FobenchError(f"Audio file {path} is empty.")
    return np.asarray(soxr.resample(np.concatenate(blocks), rate, rate_hz), dtype=np.float32)


def _trim_response(response: Samples) -> Samples:
    """Trims a recorded impulse response to start at the direct sound, scaled to 1."""
    first = int(np.abs(response).argmax())
    return response[first : first + 16_000] / (np.abs(response[first]) + 1e-9)
