"""The reference codec's encoder and decoder: mel frames, and ConvNeXt blocks (arXiv 2201.03545)."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from reference_model.codec.exact_streaming import ConvSpec

FLOOR = 1e-5  # of a mel band's magnitude
MEAN, SPREAD = -4.0, 3.0  # approximate mean and standard deviation of log-mel values of speech
KERNEL = 7
WIDENING = 3


class MelFrames(nn.Module):
    """Waveform [B, T], T a multiple of `hop` -> log-mel frames [B, mels, T / hop], centered on their hop, approximately standardized.

    Magnitudes of a Hann-windowed FFT of `fft` samples, in triangular bands evenly spaced in mels from 0 to half the rate.
    """

    def __init__(self, rate_hz: int, hop: int, mels: int, fft: int) -> None:
        super().__init__()
        self.rate_hz, self.hop, self.mels, self.fft = rate_hz, hop, mels, fft

    @property
    def layers(self) -> tuple[ConvSpec, ...]:
        return (ConvSpec(self.fft, self.hop, padding=(self.fft - self.hop) // 2),)

    def forward(self, audio: Tensor) -> Tensor:
        edge = (self.fft - self.hop) // 2
        frames = functional.pad(audio, (edge, edge)).unfold(-1, self.fft, self.hop)  # [B, F, fft]
        window, bands = _tables(self.rate_hz, self.mels, self.fft, audio.device)
        magnitudes = torch.fft.rfft(frames * window).abs()
        mels = (magnitudes @ bands).clamp(min=FLOOR).log()
        return ((mels - MEAN) / SPREAD).transpose(1, 2)


class ConvNeXtBlock(nn.Module):
    """x + scale * contract(GELU(expand(norm(depthwise(x))))), on [B, C, F]. `causal`: without lookahead."""

    def __init__(self, channels: int, *, causal: bool, scale: float) -> None:
        super().__init__()
        self.padding = (KERNEL - 1, 0) if causal else (KERNEL // 2, KERNEL // 2)
        self.depthwise = nn.Conv1d(channels, channels, KERNEL, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, WIDENING * channels)
        self.contract = nn.Linear(WIDENING * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), scale))

    @property
    def layers(self) -> tuple[ConvSpec, ...]:
        return (ConvSpec(KERNEL, padding=self.padding[0]),)

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(functional.pad(x, self.padding)).transpose(1, 2)  # [B, F, C]
        y = self.contract(functional.gelu(self.expand(self.norm(y))))
        return x + (self.scale * y).transpose(1, 2)


class ConvNeXtEncoder(nn.Module):
    """Mel frames [B, mels, stack * F] -> latents [B, C, F], with lookahead."""

    def __init__(self, mels: int, stack: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.stack = stack
        self.pre = nn.Conv1d(mels, channels, 3 * stack, stack, padding=stack)
        self.blocks: Any = _blocks(channels, blocks, causal=False)
        self.norm = nn.LayerNorm(channels)
        self.post = nn.Linear(channels, channels)

    @property
    def layers(self) -> tuple[ConvSpec, ...]:
        first = ConvSpec(3 * self.stack, self.stack, padding=self.stack)
        return first, *(layer for block in self.blocks for layer in block.layers)

    def forward(self, mels: Tensor) -> Tensor:
        x = self.pre(mels)
        for block in self.blocks:
            x = block(x)
        return self.post(self.norm(x.transpose(1, 2))).transpose(1, 2)


class ConvNeXtDecoder(nn.Module):
    """Quantized latents [B, C, F] -> inputs of the generator [B, outputs, stack * F], without lookahead."""

    def __init__(self, channels: int, stack: int, outputs: int, blocks: int) -> None:
        super().__init__()
        self.stack = stack
        self.blocks: Any = _blocks(channels, blocks, causal=True)
        self.norm = nn.LayerNorm(channels)
        self.post = nn.Linear(channels, stack * outputs)

    @property
    def layers(self) -> tuple[ConvSpec, ...]:
        unstacked = ConvSpec(self.stack, self.stack, transposed=True)
        return *(layer for block in self.blocks for layer in block.layers), unstacked

    def forward(self, latents: Tensor) -> Tensor:
        for block in self.blocks:
            latents = block(latents)
        x = self.post(self.norm(latents.transpose(1, 2)))  # [B, F, stack * outputs]
        return x.unflatten(-1, (self.stack, -1)).flatten(1, 2).transpose(1, 2)


@cache
def _tables(rate_hz: int, mels: int, fft: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(window [fft], mel bands), outside the modules: no checkpoint has them, so a module from the meta device would lack them."""
    with torch.inference_mode(False), torch.device("cpu"):
        return torch.hann_window(fft).to(device), mel_bands(rate_hz, mels, fft).to(device)


def mel_bands(rate_hz: int, mels: int, fft: int) -> Tensor:
    """[fft / 2 + 1, mels]: triangles of area 1, evenly spaced on the scale 2595 log10(1 + f / 700)."""
    highest = 2595 * math.log10(1 + rate_hz / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, highest, mels + 2, dtype=torch.float64) / 2595) - 1)  # Hz
    bins = torch.linspace(0, rate_hz / 2, fft // 2 + 1, dtype=torch.float64)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = torch.minimum(rising, falling).clamp(min=0)
    return (triangles * 2 / (edges[2:] - edges[:-2])).float()


def _blocks(channels: int, count: int, *, causal: bool) -> nn.ModuleList:
    return nn.ModuleList(ConvNeXtBlock(channels, causal=causal, scale=1 / count) for _ in range(count))
