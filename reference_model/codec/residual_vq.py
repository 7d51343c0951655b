"""Residual vector quantization (SoundStream, section III-C): each codebook codes the residual of the previous ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

BLOCK = 2**24  # maximum distances in memory
COUNT_EPS = 1e-5


@dataclass(frozen=True, slots=True)
class Quantized:
    """The result of quantizing latents [B, D, F]."""

    values: Tensor  # [B, D, F]; gradients pass straight through to the latents
    codes: Tensor  # [B, K, F]
    commitment: Tensor  # scalar: mean squared distance of each level's input to the selected rows
    residuals: Tensor  # [K, B * F, C]: each level's input, without gradient


@dataclass(frozen=True, slots=True)
class CodebookLearning:
    """Codebook training: exponential moving averages (VQ-VAE, appendix A.1), with restarts of unused rows."""

    decay: float = 0.99
    dead_below: float = 0.5  # rows with fewer average uses per batch are restarted from vectors of the batch
    k_means_steps: int = 10


class ResidualVQ(nn.Module):
    """K codebooks of N vectors of `code_size` dimensions, between two linear maps if that is not `size`.

    The codebooks are buffers: the trainer updates them by `start` and `follow`, not by gradients.
    """

    codebooks: Tensor  # [K, N, C]
    counts: Tensor  # [K, N]: average uses per batch

    def __init__(self, codebooks: int, cardinality: int, size: int, code_size: int | None = None) -> None:
        super().__init__()
        width = code_size or size
        self.into: nn.Module = nn.Identity() if width == size else nn.Conv1d(size, width, 1)
        self.out: nn.Module = nn.Identity() if width == size else nn.Conv1d(width, size, 1)
        self.register_buffer("codebooks", torch.randn(codebooks, cardinality, width))
        self.register_buffer("counts", torch.ones(codebooks, cardinality))

    def encode(self, latents: Tensor) -> Tensor:
        """[B, D, F] -> codes [B, K, F]"""
        return self._levels(self.into(latents).transpose(1, 2))[0]

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [B, K, F] -> [B, D, F]; K may be less than the number of codebooks, for the first ones alone."""
        return self.out(self._sum(codes).transpose(1, 2))

    def forward(self, latents: Tensor) -> Quantized:
        """For training: `values` has the value of `decode(encode(latents))` and the gradient of `out(into(latents))`."""
        x = self.into(latents).transpose(1, 2)  # [B, F, C]
        codes, residuals = self._levels(x.detach())
        chosen = self._chosen(codes)  # [K, B, F, C]
        before = x - (chosen.cumsum(0) - chosen)  # [K, B, F, C], with gradient
        commitment = functional.mse_loss(before, chosen)
        straight = x + (chosen.sum(0) - x).detach()
        return Quantized(self.out(straight.transpose(1, 2)), codes, commitment, residuals)

    @torch.no_grad()
    def start(self, latents: Tensor, generator: torch.Generator, learning: CodebookLearning | None = None) -> None:
        """Initialize the codebooks by k-means on a first batch of latents [B, D, F], level by level. `generator`: on the CPU."""
        learning = learning or CodebookLearning()
        left = self.into(latents).transpose(1, 2).flatten(0, 1)  # [B * F, C]
        for level, book in enumerate(self.codebooks):
            book.copy_(k_means(left, len(book), learning.k_means_steps, generator))
            codes = nearest(left, book)
            self.counts[level] = codes.bincount(minlength=len(book)).to(self.counts)
            left = left - book[codes]

    @torch.no_grad()
    def follow(
        self, quantized: Quantized, generator: torch.Generator, learning: CodebookLearning | None = None
    ) -> None:
        """Update the codebooks by the result of a `forward`, and restart unused rows. `generator`: on the CPU."""
        learning = learning or CodebookLearning()
        for level, (residuals, codes) in enumerate(zip(quantized.residuals, quantized.codes.unbind(1), strict=True)):
            book, counts = self.codebooks[level], self.counts[level]
            uses, sums = _assigned(residuals, codes.flatten(), len(book))
            total = book * counts[:, None] * learning.decay + sums * (1 - learning.decay)
            counts.mul_(learning.decay).add_(uses, alpha=1 - learning.decay)
            book.copy_(torch.where(counts[:, None] > COUNT_EPS, total / counts[:, None].clamp(min=COUNT_EPS), book))
            self._restart(level, residuals, learning.dead_below, generator)

    def _restart(self, level: int, residuals: Tensor, below: float, generator: torch.Generator) -> None:
        dead = (self.counts[level] < below).nonzero()[:, 0]
        self.codebooks[level, dead] = _drawn(residuals, len(dead), generator)
        self.counts[level, dead] = max(1.0, below)

    def _levels(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, F, C] -> (codes [B, K, F], residual before each level [K, B * F, C])"""
        codes, residuals = [], []
        for book in self.codebooks:
            codes.append(nearest(x, book))
            residuals.append(x.flatten(0, 1))
            x = x - book[codes[-1]]
        return torch.stack(codes, 1), torch.stack(residuals)

    def _chosen(self, codes: Tensor) -> Tensor:
        """[B, K, F] -> the codebooks' rows [K, B, F, C]"""
        return torch.stack([book[level] for book, level in zip(self.codebooks, codes.unbind(1), strict=False)])

    def _sum(self, codes: Tensor) -> Tensor:
        return self._chosen(codes).sum(0)  # [B, F, C]


def nearest(vectors: Tensor, book: Tensor) -> Tensor:
    """[..., C], codebook [N, C] -> [...]: index of the nearest row by squared distance, the first of equals."""
    flat = vectors.reshape(-1, vectors.shape[-1])
    square = book.square().sum(-1)
    rows = max(1, BLOCK // len(book))
    found = [(square - 2 * part @ book.T).argmin(-1) for part in flat.split(rows)]
    return torch.cat(found).reshape(vectors.shape[:-1])


def k_means(vectors: Tensor, count: int, steps: int, generator: torch.Generator) -> Tensor:
    """[M, C] -> `count` centers [count, C], initialized with random vectors; a center without any vector is redrawn."""
    centers = _drawn(vectors, count, generator)
    for _ in range(steps):
        uses, sums = _assigned(vectors, nearest(vectors, centers), count)
        centers = sums / uses.clamp(min=1)[:, None]
        empty = (uses == 0).nonzero()[:, 0]
        centers[empty] = _drawn(vectors, len(empty), generator)
    return centers


def _assigned(vectors: Tensor, codes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Vectors [M, C] and their codes [M] -> (number of vectors per code [count], their sums [count, C])"""
    uses = codes.bincount(minlength=count).to(vectors)
    sums = vectors.new_zeros(count, vectors.shape[-1]).index_add_(0, codes, vectors)
    return uses, sums


def _drawn(vectors: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` random vectors out of [M, C], without replacement as long as there are enough."""
    rounds = -(-count // len(vectors)) if count else 0
    order = [torch.randperm(len(vectors), generator=generator) for _ in range(rounds)]
    return vectors[torch.cat(order)[:count].to(vectors.device)] if order else vectors[:0]
