"""Cutting audio at quiet places, so that packets played with a gap between them do not break a sound in two."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

PCM_FULL_SCALE = 32768


@dataclass(frozen=True, slots=True)
class SilenceSplitConfig:
    """Where audio may be cut: in a stretch of `window` samples whose mean amplitude is below `threshold`.

    Published: 2,401 samples at 24 kHz (100 ms); threshold 0.1 in a reply's first segment, 0.015 later.
    """

    window: int = 2401
    threshold: float = 0.015

    def step(self, piece: Tensor, held: Tensor | None = None, last: bool = False) -> tuple[Tensor, Tensor]:
        """A piece of audio [T] and what was held back -> (audio [T'] that may be played, what is held back now).

        Without a quiet place all of the piece is held back; `last` lets everything go. The rule is the published one.
        """
        held = piece[:0] if held is None else held
        cut = len(piece) if last else self.place(piece)
        if cut is None:
            return piece[:0], torch.cat([held, piece])
        return torch.cat([held, piece[:cut]]), piece[cut:]

    def place(self, piece: Tensor) -> int | None:
        """The sample of [T] to cut at: the softest near the quietest window of the piece's second half, or None.

        The search for it goes on behind the window for as long as the window lies behind the first one.
        """
        if len(piece) < self.window:
            return None
        loudness = piece.abs().double()
        first = max(0, len(piece) // 2 - self.window // 2)
        sums = functional.pad(loudness.cumsum(0), (1, 0))
        sums = (sums[self.window :] - sums[: -self.window])[first:]  # [T - window + 1 - first]
        quietest = int(sums.argmin())
        if sums[quietest] / self.window >= self.threshold:
            return None
        begin = first + quietest
        return begin + int(loudness[begin : begin + self.window + quietest].argmin())


class SilenceSplitter:
    """One stream's cutting: owns what is held back."""

    def __init__(self, rule: SilenceSplitConfig) -> None:
        self.rule = rule
        self._held: Tensor | None = None

    def push(self, piece: Tensor, last: bool = False) -> Tensor:
        """A piece of audio [T] -> the audio [T'] that may be played now; `last` lets everything go."""
        out, self._held = self.rule.step(piece, self._held, last)
        return out


def pcm16(audio: Tensor) -> Tensor:
    """Audio in [-1, 1] -> int16 of the same shape; what is louder than full scale is clamped, never wrapped."""
    scaled = (audio.float() * PCM_FULL_SCALE).round()
    return scaled.clamp(-PCM_FULL_SCALE, PCM_FULL_SCALE - 1).to(torch.int16)


def from_first_sound(audio: Tensor, threshold: float = 0.03) -> Tensor:
    """Audio [T] without what precedes its first sample above `threshold` (a reply's first packet, as published)."""
    loud = (audio.abs() > threshold).nonzero()
    return audio[int(loud[0]) :] if len(loud) else audio[:0]
