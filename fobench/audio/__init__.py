"""Audio files (read at any rate, written as FLAC), resampling, frame levels and speech bounds."""

from __future__ import annotations

import hashlib
import io
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fobench.api.types import NS_PER_MS, AudioChunk, Samples, ns_to_samples, samples_to_ns
from fobench.atomic_files import write_bytes
from fobench.audio.limits import OFFSET

AUDIBLE_DBFS = -45.0  # level above which a sound counts as audible
AUDIBLE_RUN_NS = 30 * NS_PER_MS  # minimum duration above that level
FRAME_NS = 10 * NS_PER_MS  # length of the frames whose level is measured
LEVEL_BLOCK = 1 << 12  # frames measured at once
FLAC_LEVEL = 0.25  # compression level, 0 to 1: files within 10 % of the default size in half the time


def load(path: str | Path, rate_hz: int | None = None) -> AudioChunk:
    """The file as mono float32 [T] in [-1, 1] at `rate_hz` (None: the file's own rate, 48 kHz for one above 96 kHz).

    The channels are averaged; of channels that cancel each other, the loudest is taken. Raises `FobenchError` for a file that
    is missing, unreadable, empty, cut, not finite or beyond the limits (`fobench.audio.limits`).
    """
    from fobench.audio.decoding import decode  # here, because `fobench --help` reads no audio

    decoded = decode(Path(path))
    chunk = AudioChunk(np.clip(decoded.samples, -1.0, 1.0, out=decoded.samples), decoded.rate_hz)
    return resample(chunk, rate_hz) if rate_hz else chunk


def save(path: Path, samples: Samples, rate_hz: int) -> None:
    """Writes FLAC (16 bit) atomically. `samples`: [T] or [T, channels] in [-1, 1]. Raises OSError."""
    import soundfile

    encoded = io.BytesIO()
    clipped = np.clip(samples, -1.0, 1.0)
    soundfile.write(encoded, clipped, rate_hz, format="FLAC", subtype="PCM_16", compression_level=FLAC_LEVEL)
    write_bytes(path, encoded.getvalue())


def resample(chunk: AudioChunk, rate_hz: int) -> AudioChunk:
    """The chunk resampled to `rate_hz` (soxr, high quality). `start` is rescaled."""
    if chunk.rate_hz == rate_hz:
        return chunk
    import soxr

    samples = soxr.resample(chunk.samples, chunk.rate_hz, rate_hz).astype(np.float32)
    return AudioChunk(samples, rate_hz, ns_to_samples(samples_to_ns(chunk.start, chunk.rate_hz), rate_hz))


def sha256(samples: Samples, rate_hz: int) -> str:
    """SHA-256 (hex) of the samples as float32 and the rate, independent of the file format."""
    digest = hashlib.sha256(f"{rate_hz}:".encode())
    digest.update(np.ascontiguousarray(samples, dtype="<f4").data)
    return digest.hexdigest()


def frame_levels(samples: Samples, rate_hz: int) -> npt.NDArray[np.float64]:
    """RMS level in dBFS of each 10 ms frame, [F]; the last frame may be shorter."""
    size = ns_to_samples(FRAME_NS, rate_hz)
    count = -(-len(samples) // size)
    power = np.empty(count)
    for first in range(0, count, LEVEL_BLOCK):  # in blocks: a long file in float64 takes more memory than itself
        block = samples[first * size : (first + LEVEL_BLOCK) * size].astype(np.float64)
        padded = np.pad(block, (0, -len(block) % size)).reshape(-1, size)
        power[first : first + len(padded)] = (padded**2).mean(axis=1)
    levels: npt.NDArray[np.float64] = 10.0 * np.log10(np.maximum(power, 1e-12))
    return levels


def audible_bounds(samples: Samples, rate_hz: int, threshold_dbfs: float = AUDIBLE_DBFS) -> tuple[int, int] | None:
    """(first, last + 1) audible sample at 10 ms resolution; None if no stretch of at least 30 ms exceeds the threshold."""
    frames = math.ceil(AUDIBLE_RUN_NS / FRAME_NS)
    loud = frame_levels(samples, rate_hz) > threshold_dbfs
    if len(loud) < frames:
        return None
    runs = np.flatnonzero(np.convolve(loud, np.ones(frames, dtype=int), mode="valid") == frames)
    if not len(runs):
        return None
    size = ns_to_samples(FRAME_NS, rate_hz)
    return int(runs[0]) * size, min(int(runs[-1] + frames) * size, len(samples))


def without_offset(samples: Samples) -> Samples:
    """The samples without their mean, where that is a constant offset of at least `OFFSET`."""
    mean = float(samples.mean(dtype=np.float64)) if len(samples) else 0.0
    return samples if abs(mean) < OFFSET else (samples - mean).astype(np.float32)


def speech_bounds(chunk: AudioChunk) -> tuple[int, int]:
    """(start_ns, end_ns) of the speech in a clean clip: above -45 dBFS or 40 dB below its peak level, whichever is higher.

    A constant offset does not count. A clip without such a stretch counts as speech throughout, so that its turn has a
    defined end.
    """
    samples = without_offset(chunk.samples)
    peak = float(frame_levels(samples, chunk.rate_hz).max()) if len(samples) else -120.0
    bounds = audible_bounds(samples, chunk.rate_hz, max(AUDIBLE_DBFS, peak - 40.0)) or (0, len(samples))
    return samples_to_ns(bounds[0], chunk.rate_hz), samples_to_ns(bounds[1], chunk.rate_hz)
