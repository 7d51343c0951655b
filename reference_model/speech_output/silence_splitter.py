"""Silence at the edges of audio: packets are cut where nothing is audible, and a reply begins with its first sound."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class SilenceSplitConfig:
    """The rule: audio may be cut within `window` samples whose mean amplitude is below `threshold`.

    Published: 2,401 samples at 24 kHz (100 ms); threshold 0.1 in a reply's first segment, 0.015 later.
    """

    window: int = 2401
    threshold: float = 0.015

    def step(self, audio: Tensor, held: Tensor | None = None, last: bool = False) -> tuple[Tensor, Tensor]:
        """Audio [T] and the audio held back before -> (audio [T'] that may be played, audio held back now).

        Without a silence all of `audio` is held back; with `last` nothing is. The rule is the published one.
        """
        held = audio[:0] if held is None else held
        cut = len(audio) if last else self.place(audio)
        if cut is None:
            return audio[:0], torch.cat([held, audio])
        return torch.cat([held, audio[:cut]]), audio[cut:]

    def place(self, audio: Tensor) -> int | None:
        """The sample of audio [T] to cut at, of least amplitude near the quietest window of the second half; None: no silence.

        The search extends beyond that window by its distance from the first window.
        """
        if len(audio) < self.window:
            return None
        loudness = audio.abs().double()
        first = max(0, len(audio) // 2 - self.window // 2)
        sums = functional.pad(loudness.cumsum(0), (1, 0))
        sums = (sums[self.window :] - sums[: -self.window])[first:]  # [T - window + 1 - first]
        quietest = int(sums.argmin())
        if sums[quietest] / self.window >= self.threshold:
            return None
        begin = first + quietest
        return begin + int(loudness[begin : begin + self.window + quietest].argmin())


class SilenceSplitter:
    """One stream: it owns the audio that is held back."""

    def __init__(self, rule: SilenceSplitConfig) -> None:
        self.rule = rule
        self._held: Tensor | None = None

    def push(self, audio: Tensor, last: bool = False) -> Tensor:
        """Audio [T] -> the audio [T'] that may be played now; with `last` nothing is held back."""
        out, self._held = self.rule.step(audio, self._held, last)
        return out


class LeadingSilence:
    """One stream, without the silence with which it begins: up to `kept` samples before the first one above `threshold`."""

    def __init__(self, kept: int, threshold: float = 0.002) -> None:
        self.kept, self.threshold = kept, threshold
        self._held: Tensor | None = None  # the last samples before the first sound
        self._sounded = False

    def push(self, audio: Tensor, last: bool = False) -> Tensor:
        """Audio [T] -> the audio [T'] without that silence."""
        if self._sounded:
            return audio
        audio = audio if self._held is None else torch.cat([self._held, audio])
        loud = (audio.abs() > self.threshold).nonzero()
        self._sounded = bool(len(loud))
        start = max(0, (int(loud[0]) if self._sounded else len(audio)) - self.kept)
        self._held = None if self._sounded else audio[start:]
        return audio[start:] if self._sounded else audio[:0]
