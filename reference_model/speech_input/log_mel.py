"""Streaming log-mel front ends: any number of samples in, every complete frame out.

Frame t covers samples 160 t - 240 ... 160 t + 159 of the stream (25 ms every 10 ms, aligned to its right edge), so that 2560
samples always give 16 frames, without lookahead beyond a frame's own 10 ms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Protocol

import torch

RATE_HZ = 16_000
HOP = 160  # samples between frames: 10 ms
WINDOW = 400  # samples per frame: 25 ms
OVERLAP = WINDOW - HOP  # samples that a frame shares with earlier ones


class FrontEnd(Protocol):
    """Samples in, features out. A state of None begins a stream, after silence."""

    rate_hz: ClassVar[int]  # of the samples
    hop: ClassVar[int]  # samples per frame

    @property
    def mels(self) -> int:
        """Features per frame."""

    @property
    def silence(self) -> float:
        """The value of every feature of digital silence at the beginning of a stream."""

    def step(self, samples: torch.Tensor, state: Any | None) -> tuple[torch.Tensor, Any]:
        """Samples [B, N] in [-1, 1], any N -> (features [B, F, mels] float32, the next state)."""

    def offline(self, samples: torch.Tensor) -> torch.Tensor:
        """Samples [B, N] of complete recordings -> features [B, N // hop, mels] float32, equal to streamed ones."""


@dataclass(frozen=True, slots=True)
class FbankState:
    """`samples` [B, 240 ... 399]: the last samples of the stream, which later frames also cover."""

    samples: torch.Tensor


@dataclass(frozen=True, slots=True)
class WhisperMelState:
    """`samples` [B, 240 ... 399] as in `FbankState`; `peak` [B]: the largest log10 mel power so far."""

    samples: torch.Tensor
    peak: torch.Tensor


@dataclass(frozen=True, slots=True)
class KaldiFbank:
    """Kaldi's log filterbank energies, natural log, without dither: the paper's front end.

    From each window its mean is subtracted, then pre-emphasis of 0.97, the Povey window and padding to 512 samples follow; the
    triangular filters are evenly spaced on the HTK mel scale from 20 to 8000 Hz, with a peak of 1.
    """

    mels: int = 80
    rate_hz: ClassVar[int] = RATE_HZ
    hop: ClassVar[int] = HOP

    @property
    def silence(self) -> float:
        return math.log(torch.finfo(torch.float32).eps)

    def step(self, samples: torch.Tensor, state: FbankState | None) -> tuple[torch.Tensor, FbankState]:
        frames, rest = windows(samples, None if state is None else state.samples)
        return self._energies(frames), FbankState(rest)

    def offline(self, samples: torch.Tensor) -> torch.Tensor:
        return self.step(samples, None)[0]

    def _energies(self, frames: torch.Tensor) -> torch.Tensor:
        """Windows [B, F, 400] -> natural log of the mel energies [B, F, mels]."""
        window, filters = _kaldi_tables(self.mels, frames.device)
        frames = frames * 32768.0  # Kaldi's samples are 16-bit integers
        frames = frames - frames.mean(-1, keepdim=True)
        frames = frames - 0.97 * torch.cat([frames[..., :1], frames[..., :-1]], -1)
        return _project(_power(frames * window, 512), filters).clamp(min=torch.finfo(torch.float32).eps).log()


@dataclass(frozen=True, slots=True)
class WhisperMel:
    """Whisper's log10 mel power, scaled as Whisper scales it: (max(x, peak - 8) + 4) / 4.

    Whisper takes the peak of a complete clip. Here it is the peak up to the current frame, and at least `peak`, the median of
    speech recordings at -25 dBFS: else the frames before the first word would be outside the range of Whisper's training data.
    With `peak` at or above the clip's own peak the values are Whisper's own.
    """

    mels: int = 80
    peak: float = 0.75  # log10 of the mel power of a Hann window of 400 samples in [-1, 1]
    rate_hz: ClassVar[int] = RATE_HZ
    hop: ClassVar[int] = HOP

    @property
    def silence(self) -> float:
        return (max(-10.0, self.peak - 8.0) + 4.0) / 4.0

    def step(self, samples: torch.Tensor, state: WhisperMelState | None) -> tuple[torch.Tensor, WhisperMelState]:
        frames, rest = windows(samples, None if state is None else state.samples)
        peak = frames.new_full((len(frames),), self.peak) if state is None else state.peak
        log = self._log_power(frames)
        peaks = torch.cat([peak[:, None], log.amax(-1)], 1).cummax(1).values  # [B, 1 + F]
        features = (torch.maximum(log, peaks[:, 1:, None] - 8.0) + 4.0) / 4.0
        return features, WhisperMelState(rest, peaks[:, -1])

    def offline(self, samples: torch.Tensor) -> torch.Tensor:
        return self.step(samples, None)[0]

    def _log_power(self, frames: torch.Tensor) -> torch.Tensor:
        """Windows [B, F, 400] -> log10 of the mel power [B, F, mels]."""
        window, filters = _whisper_tables(self.mels, frames.device)
        return _project(_power(frames * window, WINDOW), filters).clamp(min=1e-10).log10()


def windows(samples: torch.Tensor, carried: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples [B, N] after the carried ones -> (complete windows [B, F, 400], samples to carry [B, 240 ... 399])."""
    samples = samples.float()
    before = samples.new_zeros(len(samples), OVERLAP) if carried is None else carried
    samples = torch.cat([before, samples], 1)
    frames = (samples.shape[1] - OVERLAP) // HOP
    rest = samples[:, frames * HOP :].clone()  # a view would keep all samples in memory
    if not frames:
        return samples.new_zeros(len(samples), 0, WINDOW), rest
    return samples.unfold(1, WINDOW, HOP), rest  # [B, F, 400]


def _power(frames: torch.Tensor, points: int) -> torch.Tensor:
    """Windowed frames [B, F, 400], padded to `points` -> power spectra [B, F, points // 2 + 1]."""
    if not frames.shape[1]:
        return frames.new_zeros(len(frames), 0, points // 2 + 1)
    spectra = torch.fft.rfft(frames, points)
    return spectra.real.square() + spectra.imag.square()  # three times as fast as abs(), which takes a root


def _project(power: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """Power spectra [B, F, bins] -> mel powers [B, F, mels], in float32 even under autocast."""
    with torch.autocast(power.device.type, enabled=False):
        return power @ filters


@cache
def _kaldi_tables(mels: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The Povey window [400] and the filters [257, mels]."""
    hann = torch.hann_window(WINDOW, periodic=False, dtype=torch.float64, device="cpu")
    edges = torch.linspace(_htk_mel(20.0), _htk_mel(RATE_HZ / 2), mels + 2, dtype=torch.float64, device="cpu")
    bins = torch.tensor([_htk_mel(k * RATE_HZ / 512) for k in range(257)], dtype=torch.float64, device="cpu")
    filters = _triangles(bins, edges)
    filters[-1] = 0.0  # Kaldi excludes the Nyquist bin
    return hann.pow(0.85).to(device, torch.float32), filters.to(device, torch.float32)


@cache
def _whisper_tables(mels: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The periodic Hann window [400] and Slaney's filters, each of area 1 over frequency [201, mels]."""
    window = torch.hann_window(WINDOW, dtype=torch.float64, device="cpu")
    steps = torch.linspace(0.0, _slaney_mel(RATE_HZ / 2), mels + 2, dtype=torch.float64, device="cpu")
    edges = torch.tensor([_slaney_hz(m) for m in steps.tolist()], dtype=torch.float64, device="cpu")
    bins = torch.arange(WINDOW // 2 + 1, dtype=torch.float64, device="cpu") * (RATE_HZ / WINDOW)
    filters = _triangles(bins, edges) * (2.0 / (edges[2:] - edges[:-2]))
    return window.to(device, torch.float32), filters.to(device, torch.float32)


def _triangles(bins: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """Triangles of peak 1 over three neighbouring edges [M + 2] each, sampled at the bins [K] -> [K, M]."""
    left, peak, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins[:, None] - left) / (peak - left)
    falling = (right - bins[:, None]) / (right - peak)
    return torch.minimum(rising, falling).clamp(min=0.0)


def _htk_mel(hz: float) -> float:
    return 1127.0 * math.log1p(hz / 700.0)


def _slaney_mel(hz: float) -> float:
    """Linear below 1000 Hz (15 mel), 27 steps for a factor of 6.4 above (Slaney, Auditory Toolbox, 1998)."""
    return hz * 3.0 / 200.0 if hz < 1000.0 else 15.0 + 27.0 * math.log(hz / 1000.0) / math.log(6.4)


def _slaney_hz(mel: float) -> float:
    return mel * 200.0 / 3.0 if mel < 15.0 else 1000.0 * math.exp((mel - 15.0) * math.log(6.4) / 27.0)
