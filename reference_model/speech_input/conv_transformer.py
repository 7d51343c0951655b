"""The paper's speech encoder: two strided convolutions and a pre-norm transformer, at 25 Hz (paper: speech input, chunk-wise streaming encoder).

Attention scores are those of Transformer-XL without its relative shift: (q + u) k + (q + v) p, where p is the projected
sinusoid of the key's position since the stream began.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from reference_model.speech_input.log_mel import KaldiFbank
from reference_model.speech_input.streaming_encoder import (
    Cache,
    Carried,
    EncoderState,
    SpeechEncoder,
    attend,
    extend,
    heads,
)

TABLE = 5000  # rows of the published position table, for `lagging_positions`


@dataclass(frozen=True, slots=True)
class ConvTransformerConfig:
    """Sizes of a `ConvTransformerEncoder`; the defaults are the paper's."""

    size: int = 1024
    layers: int = 24
    heads: int = 16
    feed_forward: int = 4096
    mels: int = 80
    chunk: int = 4  # frames: 160 ms
    left_chunks: int = 16  # chunks of left context
    dropout: float = 0.1
    # For the published weights, which were trained or run with these.
    lagging_positions: bool = False  # in streams, positions lag by a chunk once the cache is full, and wrap
    zero_context: bool = False  # whether the log-mel values before a stream are zeros, and not silence

    @property
    def left(self) -> int:
        """Frames of left context."""
        return self.chunk * self.left_chunks

    @property
    def wrap(self) -> int:
        """The position at which lagging positions wrap to 0 (4932 in the published model)."""
        return TABLE // self.chunk * self.chunk - self.left - self.chunk

    def build(self) -> ConvTransformerEncoder:
        return ConvTransformerEncoder(self)


class PositionalAttention(nn.Module):
    """Multi-head attention whose scores also depend on the positions of the keys."""

    def __init__(self, size: int, count: int) -> None:
        super().__init__()
        self.heads = count
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size)
        self.position = nn.Linear(size, size, bias=False)
        self.out = nn.Linear(size, size)
        self.content_bias = nn.Parameter(torch.empty(count, size // count))  # u
        self.position_bias = nn.Parameter(torch.empty(count, size // count))  # v
        nn.init.xavier_uniform_(self.content_bias)
        nn.init.xavier_uniform_(self.position_bias)

    def forward(
        self, x: torch.Tensor, table: torch.Tensor, seen: torch.Tensor, past: Cache | None
    ) -> tuple[torch.Tensor, Cache]:
        """x [B, T, D], table [B or 1, K, D] of the K = past + T keys' positions -> (out [B, T, D], keys and values)."""
        query, key, value = (heads(side(x), self.heads) for side in (self.query, self.key, self.value))
        key, value = extend(past, key, value)
        shifted = query + self.position_bias[:, None]  # [B, H, T, d]
        scores = self._short(shifted, table) if past is not None else self._long(shifted, table)
        bias = scores / math.sqrt(query.shape[-1])
        return self.out(attend(query + self.content_bias[:, None], key, value, seen, bias)), (key, value)

    def _long(self, query: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """[B, H, T, K]: queries times projected positions, which the batch shares."""
        return query @ heads(self.position(table), self.heads).transpose(-1, -2)

    def _short(self, query: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """The same product, for few queries and many keys: the queries are projected back instead of the positions."""
        weight = self.position.weight.unflatten(0, (self.heads, -1))  # [H, d, D]
        return (query @ weight) @ table[:, None].transpose(-1, -2)


class ConvTransformerLayer(nn.Module):
    """A pre-norm transformer layer with ReLU."""

    def __init__(self, config: ConvTransformerConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.size)
        self.attention = PositionalAttention(config.size, config.heads)
        self.feed_forward_norm = nn.LayerNorm(config.size)
        self.expand = nn.Linear(config.size, config.feed_forward)
        self.contract = nn.Linear(config.feed_forward, config.size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: torch.Tensor, table: torch.Tensor, seen: torch.Tensor, past: Cache | None
    ) -> tuple[torch.Tensor, Cache]:
        """As `PositionalAttention.forward`."""
        attended, cache = self.attention(self.attention_norm(x), table, seen, past)
        x = x + self.dropout(attended)
        inner = self.dropout(functional.relu(self.expand(self.feed_forward_norm(x))))
        return x + self.dropout(self.contract(inner)), cache


class ConvTransformerEncoder(SpeechEncoder):
    """The paper's encoder. Frame j sees features 4 j - 3 ... 4 j + 3 (and more through attention).

    `mean` and `istd` [mels] are the global statistics that features are normalized with. `begin` without `before` begins after
    silence (zeros with `zero_context`).
    """

    subsampling = 4
    context = 3
    mean: torch.Tensor
    istd: torch.Tensor

    def __init__(self, config: ConvTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.front = KaldiFbank(config.mels)
        self.register_buffer("mean", torch.zeros(config.mels))
        self.register_buffer("istd", torch.ones(config.mels))
        bands = ((config.mels - 1) // 2 - 1) // 2  # mel bands after two convolutions
        self.convs = nn.ModuleList(nn.Conv2d(channels, config.size, 3, 2) for channels in (1, config.size))
        self.flatten = nn.Linear(config.size * bands, config.size)
        self.embed = nn.Linear(config.size, config.size)
        self.embed_norm = nn.LayerNorm(config.size)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(ConvTransformerLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.size)

    @property
    def dtype(self) -> torch.dtype:
        return self.norm.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def _attend(
        self, x: torch.Tensor, positions: torch.Tensor, seen: torch.Tensor, pasts: Sequence[Cache | None]
    ) -> tuple[torch.Tensor, list[Cache]]:
        """As `SpeechEncoder._attend`; `positions` [B or 1, K] are those of the keys."""
        x, caches, table = self.dropout(x), [], sinusoids(positions, self.size).to(self.dtype)
        for layer, past in zip(self.layers, pasts, strict=True):
            x, cache = layer(x, table, seen, past)
            caches.append(cache)
        return self.norm(x), caches

    def _convolve(self, features: torch.Tensor, carried: Carried) -> tuple[torch.Tensor, Carried]:
        features = torch.cat([carried[0], features], 1)  # [B, 3 + N, mels]
        return self._subsample(features), (features[:, -self.context :],)

    def _subsample(self, features: torch.Tensor) -> torch.Tensor:
        """[B, 3 + N, mels] -> [B, N // 4, D], scaled by the root of D."""
        x = ((features - self.mean) * self.istd).to(self.norm.weight.dtype)[:, None]  # [B, 1, 3 + N, mels]
        for conv in self.convs:
            x = functional.relu(conv(x))
        x = self.flatten(x.transpose(1, 2).flatten(2))  # [B, D, T, bands] -> [B, T, D * bands] -> [B, T, D]
        return functional.relu(self.embed_norm(self.embed(x))) * math.sqrt(self.size)

    def _before(self, batch: int, before: torch.Tensor | None) -> Carried:
        """The feature frames just before a stream [B, 3, mels]."""
        if before is not None:
            return (before.to(self.device, torch.float32),)
        value = 0.0 if self.config.zero_context else self.front.silence
        return (torch.full((batch, self.context, self.config.mels), value, device=self.device),)

    def _positions(self, state: EncoderState) -> torch.Tensor:
        """The positions [B, left + chunk] of the cached and the new frames of a step; arbitrary where a cache is empty."""
        config = self.config
        if config.lagging_positions:
            first = (state.position % config.wrap - config.left - config.chunk).clamp(min=0)
        else:
            first = state.position - state.filled
        slot = torch.arange(config.left + config.chunk, device=self.device)
        return first[:, None] + slot - (config.left - state.filled[:, None])


def sinusoids(positions: torch.Tensor, size: int) -> torch.Tensor:
    """Positions [...] -> [..., size] float32: sines in the even channels, cosines in the odd ones."""
    rates = torch.exp(torch.arange(0, size, 2, device=positions.device) * (-math.log(10000.0) / size))
    angles = positions[..., None].float() * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)


def draw_chunk(generator: torch.Generator, longest: int = 25, history: int = 250) -> tuple[int | None, int | None]:
    """A (chunk, left) for one training step, so that one encoder works at all latencies (dynamic chunk training).

    Half the time full context (None, None), else 1 to `longest` frames per chunk, with any number of left chunks
    of at most `history` frames together.
    """
    full, chunk, left = torch.rand(3, generator=generator, device=generator.device).tolist()
    if full < 0.5:
        return None, None
    frames = 1 + int(chunk * longest)
    return frames, int(left * (history // frames + 1))
