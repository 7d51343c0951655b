"""Codecs that cannot stream, made to: the stream is cut into windows that overlap, each coded by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fobench.api.types import Samples

Codes = npt.NDArray[np.int64]
WINDOW_S = 1.0  # what a window keeps
OVERLAP_S = 0.5  # what it reads before and after that, and drops


class OfflineCodec(Protocol):
    """A codec of whole recordings."""

    sample_rate_hz: int
    hop: int  # samples of a frame
    num_codebooks: int
    cardinality: int

    def encode(self, audio: Samples) -> Codes:
        """[F * hop] -> [K, F]"""

    def decode(self, codes: Codes) -> Samples:
        """[K, F] -> [F * hop], or a little less"""

    def about(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """Where a stream stands: its input from `start` on, and the frame that comes out next. `start` counts in frames."""

    input: npt.NDArray[Any]
    start: int = 0
    next: int = 0


class WindowedCodec:
    """A `OfflineCodec` codec under the streaming contract. Windows lie at the same places however the input is cut.

    A frame comes out once its window and the overlap after it are full, so this adds a second and a half of latency: it is for
    measuring a codec's sound, and for codecs whose own model needs the whole.
    """

    def __init__(self, whole: OfflineCodec, window_s: float = WINDOW_S, overlap_s: float = OVERLAP_S) -> None:
        self.sample_rate_hz, self.hop = whole.sample_rate_hz, whole.hop
        self.num_codebooks, self.cardinality = whole.num_codebooks, whole.cardinality
        self.frame_rate_hz = whole.sample_rate_hz / whole.hop
        self.window = max(1, round(window_s * self.frame_rate_hz))  # frames
        self.overlap = round(overlap_s * self.frame_rate_hz)  # frames
        self._whole = whole

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        sizes = {"window_s": self.window / self.frame_rate_hz, "overlap_s": self.overlap / self.frame_rate_hz}
        return {**self._whole.about(), "streaming": "cannot: windowed with overlap", **sizes}

    def encode(
        self, audio: Samples, state: StreamPosition | None = None, last: bool = False
    ) -> tuple[Codes, StreamPosition]:
        """[T] -> [K, F], the frames whose windows are full; a last, unfinished frame is filled up with zeros."""
        at = state or StreamPosition(np.zeros(0, np.float32))
        wave = np.concatenate([at.input, np.asarray(audio, np.float32)])
        if last:
            wave = np.pad(wave, (0, -len(wave) % self.hop))
        made = [np.zeros((self.num_codebooks, 0), np.int64)]
        for first, end, start, stop in self._windows(at, at.start + len(wave) // self.hop, last):
            heard = wave[(start - at.start) * self.hop : (stop - at.start) * self.hop]
            full = (self.window + 2 * self.overlap) * self.hop
            codes = self._whole.encode(np.pad(heard, (0, full - len(heard))))  # models refuse what is very short
            made.append(codes[:, first - start : end - start])
        return np.concatenate(made, axis=1), self._after(at, wave, sum(c.shape[1] for c in made), self.hop)

    def decode(
        self, codes: Codes, state: StreamPosition | None = None, last: bool = False
    ) -> tuple[Samples, StreamPosition]:
        """[K, F] -> [T], the samples of the frames whose windows are full."""
        at = state or StreamPosition(np.zeros((0, self.num_codebooks), np.int64))
        frames = np.concatenate([at.input, np.asarray(codes, np.int64).T])  # [F, K]
        made, done = [np.zeros(0, np.float32)], 0
        for first, end, start, stop in self._windows(at, at.start + len(frames), last):
            read = frames[start - at.start : stop - at.start].T
            wave = self._whole.decode(np.ascontiguousarray(read))[: read.shape[1] * self.hop]
            wave = np.pad(wave, (0, read.shape[1] * self.hop - len(wave)))  # some models end a few samples early
            made.append(wave[(first - start) * self.hop : (end - start) * self.hop])
            done += end - first
        return np.clip(np.concatenate(made), -1, 1).astype(np.float32), self._after(at, frames, done, 1)

    def _windows(self, at: StreamPosition, have: int, last: bool) -> list[tuple[int, int, int, int]]:
        """(first, end, start, stop), all in frames: first..end comes out of what lies in start..stop."""
        found = []
        for first in range(at.next, have, self.window):
            end = first + self.window
            if not last and end + self.overlap > have:
                break
            found.append((first, min(end, have), max(0, first - self.overlap), min(end + self.overlap, have)))
        return found

    def _after(self, at: StreamPosition, input: npt.NDArray[Any], done: int, size: int) -> StreamPosition:
        """The place after `done` further frames; of the input (`size` items a frame) what is still to be read is kept."""
        start = max(at.start, at.next + done - self.overlap)
        return StreamPosition(input[(start - at.start) * size :].copy(), start, at.next + done)
