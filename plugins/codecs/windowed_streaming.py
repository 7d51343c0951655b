"""Streaming of offline codecs: overlapping windows of the stream are encoded and decoded independently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fobench.api.types import Samples

Codes = npt.NDArray[np.int64]
WINDOW_S = 1.0  # length of a window's output
OVERLAP_S = 0.5  # context before and after it, whose output is dropped


class OfflineCodec(Protocol):
    """A codec of complete recordings."""

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
    """State of a stream: its input from frame `start` on, and the next frame to output."""

    input: npt.NDArray[Any]
    start: int = 0
    next_frame: int = 0


class WindowedCodec:
    """An `OfflineCodec` under the streaming contract. Window positions do not depend on how the input is chunked.

    A frame is output when its window and the overlap after it are complete, which adds 1.5 s of latency. This is meant
    for measurements of codec quality, and for codecs that are not causal.
    """

    def __init__(self, codec: OfflineCodec, window_s: float = WINDOW_S, overlap_s: float = OVERLAP_S) -> None:
        self.sample_rate_hz, self.hop = codec.sample_rate_hz, codec.hop
        self.num_codebooks, self.cardinality = codec.num_codebooks, codec.cardinality
        self.frame_rate_hz = codec.sample_rate_hz / codec.hop
        self.window = max(1, round(window_s * self.frame_rate_hz))  # frames
        self.overlap = round(overlap_s * self.frame_rate_hz)  # frames
        self._codec = codec

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        sizes = {"window_s": self.window / self.frame_rate_hz, "overlap_s": self.overlap / self.frame_rate_hz}
        return {**self._codec.about(), "streaming": "cannot: windowed with overlap", **sizes}

    def encode(
        self, audio: Samples, state: StreamPosition | None = None, last: bool = False
    ) -> tuple[Codes, StreamPosition]:
        """[T] -> [K, F], the frames of complete windows; with `last`, an incomplete frame is zero-padded."""
        position = state or StreamPosition(np.zeros(0, np.float32))
        wave = np.concatenate([position.input, np.asarray(audio, np.float32)])
        if last:
            wave = np.pad(wave, (0, -len(wave) % self.hop))
        outputs = [np.zeros((self.num_codebooks, 0), np.int64)]
        for first, end, start, stop in self._windows(position, position.start + len(wave) // self.hop, last):
            segment = wave[(start - position.start) * self.hop : (stop - position.start) * self.hop]
            full = (self.window + 2 * self.overlap) * self.hop
            codes = self._codec.encode(np.pad(segment, (0, full - len(segment))))  # models reject very short input
            outputs.append(codes[:, first - start : end - start])
        return np.concatenate(outputs, axis=1), self._advance(
            position, wave, sum(c.shape[1] for c in outputs), self.hop
        )

    def decode(
        self, codes: Codes, state: StreamPosition | None = None, last: bool = False
    ) -> tuple[Samples, StreamPosition]:
        """[K, F] -> [T], the samples of complete windows."""
        position = state or StreamPosition(np.zeros((0, self.num_codebooks), np.int64))
        frames = np.concatenate([position.input, np.asarray(codes, np.int64).T])  # [F, K]
        outputs, done = [np.zeros(0, np.float32)], 0
        for first, end, start, stop in self._windows(position, position.start + len(frames), last):
            segment = frames[start - position.start : stop - position.start].T
            wave = self._codec.decode(np.ascontiguousarray(segment))[: segment.shape[1] * self.hop]
            wave = np.pad(wave, (0, segment.shape[1] * self.hop - len(wave)))  # some models end a few samples early
            outputs.append(wave[(first - start) * self.hop : (end - start) * self.hop])
            done += end - first
        return np.clip(np.concatenate(outputs), -1, 1).astype(np.float32), self._advance(position, frames, done, 1)

    def _windows(self, position: StreamPosition, available: int, last: bool) -> list[tuple[int, int, int, int]]:
        """[(first, end, start, stop)] in frames: the output first..end is computed from the input start..stop."""
        windows = []
        for first in range(position.next_frame, available, self.window):
            end = first + self.window
            if not last and end + self.overlap > available:
                break
            windows.append(
                (first, min(end, available), max(0, first - self.overlap), min(end + self.overlap, available))
            )
        return windows

    def _advance(self, position: StreamPosition, input: npt.NDArray[Any], done: int, size: int) -> StreamPosition:
        """The state after `done` further frames, with the input (`size` items per frame) that later windows need."""
        start = max(position.start, position.next_frame + done - self.overlap)
        return StreamPosition(input[(start - position.start) * size :].copy(), start, position.next_frame + done)
