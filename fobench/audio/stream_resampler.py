"""Resampling of a live stream, piece by piece, with a delay of about a millisecond.

A polyphase filter (Kaiser-windowed sinc, `LOBES` zero crossings to each side): what is held back is half its length, where
resamplers made for files hold back 20 to 60 ms. The pieces joined are the whole resampled.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from fobench.api.types import Samples

LOBES = 16
KAISER_BETA = 6.0  # about 60 dB of attenuation in the stop band


class StreamResampler:
    """From `from_hz` to `to_hz`; equal rates pass through."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        common = math.gcd(from_hz, to_hz)
        self._up, self._down = to_hz // common, from_hz // common
        self._waiting = np.zeros(0, np.float32)  # the inputs from `_first` on
        self._first = 0  # a multiple of `_down`, so that outputs fall on the same phases
        self._received = self._sent = 0
        self._taps = None if self._up == self._down else _taps(self._up, self._down)
        self._lead = 0 if self._taps is None else len(self._taps) // 2 // self._down  # outputs before the first

    def push(self, samples: Samples) -> Samples:
        """The next samples [N], float32 -> what they complete of the output [M]."""
        if self._taps is None:
            return samples
        self._received += len(samples)
        self._waiting = np.concatenate([self._waiting, samples])
        return self._filtered((self._received - 1) * self._up // self._down + 1 - self._lead)

    def finish(self) -> Samples:
        """What was held back; the stream has ended. In all there are ceil(N * to_hz / from_hz) samples."""
        if self._taps is None or not self._received:
            return np.zeros(0, np.float32)
        end = -(-self._received * self._up // self._down)
        self._waiting = np.pad(self._waiting, (0, (self._lead + 1) * self._down // self._up + 2))
        return self._filtered(end)

    def _filtered(self, end: int) -> Samples:
        """The outputs from the first that was not sent to `end`."""
        taps = self._taps
        if taps is None or end <= self._sent:
            return np.zeros(0, np.float32)
        offset = self._first * self._up // self._down - self._lead
        resampled = self._outputs(taps, self._sent - offset, end - offset)
        self._sent = end
        needed = ((end + self._lead) * self._down - len(taps)) // self._up // self._down * self._down - self._down
        if (drop := needed - self._first) > 0:
            self._waiting, self._first = self._waiting[drop:], needed
        return resampled

    def _outputs(self, taps: Samples, first: int, last: int) -> Samples:
        """The filtered samples [last - first], counted from the first that `_waiting` gives."""
        phases = np.pad(taps, (0, -len(taps) % self._up)).reshape(-1, self._up).T[:, ::-1]  # [up, inputs]: oldest first
        length = phases.shape[1]
        ticks = np.arange(first, last) * self._down  # at `up` times the rate of the input
        newest = ticks // self._up
        padded = np.pad(self._waiting, (length - 1, max(0, int(newest[-1]) + 1 - len(self._waiting))))
        inputs = np.lib.stride_tricks.sliding_window_view(padded, length)[newest]
        resampled: Samples = np.einsum("ni,ni->n", inputs, phases[ticks % self._up], dtype=np.float32)
        return resampled


@functools.cache
def _taps(up: int, down: int) -> Samples:
    """The filter, of odd length; its middle is a multiple of `down`."""
    widest = max(up, down)
    half = -(-LOBES * widest // down) * down
    shape = np.sinc(np.arange(-half, half + 1) / widest) * np.kaiser(2 * half + 1, KAISER_BETA)
    taps: Samples = (up * shape / shape.sum()).astype(np.float32)
    return taps
