"""The base class of the speech encoders: chunk-wise streaming, the state of a stream, masks and attention over a cache.

A frame attends to the frames of its own chunk and of a fixed number of chunks to the left (paper: speech input). So a stream has
caches of a fixed size, and the cost of a step does not depend on the length of the stream.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn
from torch.nn import functional

from reference_model.speech_input.log_mel import FrontEnd

State = TypeVar("State")
Carried = tuple[torch.Tensor, ...]
Cache = tuple[torch.Tensor, torch.Tensor]  # keys and values of a layer, [B, H, K, D / H] each


@dataclass(frozen=True, slots=True)
class EncoderState:
    """The state of a batch of streams between two steps. It is immutable: to fork a stream, keep the state.

    Streams of different lengths can share a batch: empty cache positions are masked.
    """

    carried: Carried  # each [B, n, C]: past inputs of the convolutions
    keys: tuple[torch.Tensor, ...]  # per layer [B, H, left, D / H], the newest last, zeros where empty
    values: tuple[torch.Tensor, ...]  # the same
    filled: torch.Tensor  # [B] int64: frames in the caches
    position: torch.Tensor  # [B] int64: frames since the stream began


class SpeechEncoder(nn.Module, ABC):
    """A chunk-wise streaming encoder: features in, frames of size D out.

    A subclass has its layers, the properties `dtype` and `device`, and `_before`, `_convolve` and `_attend`. `config` is a frozen
    dataclass with a `build()` and the sizes `size`, `layers`, `heads`, `chunk` and `left`.
    """

    subsampling: ClassVar[int]  # feature frames per frame
    context: ClassVar[int]  # feature frames from before a stream that its first frame depends on
    config: Any
    front: FrontEnd  # computes its features

    @property
    def size(self) -> int:
        """D, the size of a frame."""
        return int(self.config.size)

    @property
    def frame_rate_hz(self) -> float:
        return self.front.rate_hz / (self.front.hop * self.subsampling)

    @property
    def chunk(self) -> int:
        """Feature frames per step."""
        return int(self.config.chunk * self.subsampling)

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype: ...

    @property
    @abstractmethod
    def device(self) -> torch.device: ...

    def begin(self, batch: int, before: torch.Tensor | None = None) -> EncoderState:
        """The state of `batch` new streams after the feature frames `before` [B, context, mels]; None: after silence."""
        config, carried = self.config, self._before(batch, before)
        return empty_state(carried, config.layers, config.heads, config.left, config.size, self.dtype)

    def step(self, features: torch.Tensor, state: EncoderState) -> tuple[torch.Tensor, EncoderState]:
        """A chunk of features [B, chunk, mels] -> (frames [B, config.chunk, D], the next state).

        Raises `ValueError` for another number of features.
        """
        if features.shape[1] != self.chunk:
            raise ValueError(f"A step takes {self.chunk} feature frames, not {features.shape[1]}.")
        count, pasts = self.config.chunk, list(zip(state.keys, state.values, strict=True))
        x, carried = self._convolve(features, state.carried)
        frames, caches = self._attend(x, self._positions(state), cache_mask(state, count), pasts)
        return frames, advance(state, carried, caches, count)

    def forward(
        self,
        features: torch.Tensor,
        lengths: torch.Tensor | None = None,
        chunk: int | None = None,
        left: int | None = None,
        before: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Complete recordings: features [B, N, mels] of `lengths` [B] frames -> (frames [B, T, D], mask [B, T] bool).

        `chunk`: frames per chunk, None for full context; `left`: chunks of left context, None for all.
        With the chunk and left of `config` it equals `step` from `begin(B, before)` on.
        """
        batch, count = len(features), features.shape[1] // self.subsampling
        mask = length_mask(None if lengths is None else lengths // self.subsampling, batch, count, features.device)
        seen = chunk_mask(count, chunk, left, features.device) & mask[:, None, None]  # [B, 1, T, T]
        x, _ = self._convolve(features, self._before(batch, before))
        positions = torch.arange(count, device=features.device)[None]
        return self._attend(x, positions, seen, [None] * self.config.layers)[0], mask

    @abstractmethod
    def _before(self, batch: int, before: torch.Tensor | None) -> Carried:
        """What the convolutions carry when a stream begins."""

    @abstractmethod
    def _convolve(self, features: torch.Tensor, carried: Carried) -> tuple[torch.Tensor, Carried]:
        """Features [B, N, mels] after the carried inputs -> ([B, T, D], carried inputs of the next step)."""

    def _positions(self, state: EncoderState) -> torch.Tensor:
        """The positions that `_attend` needs in a step: [B, T], those of its frames."""
        return state.position[:, None] + torch.arange(self.config.chunk, device=self.device)

    @abstractmethod
    def _attend(
        self, x: torch.Tensor, positions: torch.Tensor, seen: torch.Tensor, pasts: Sequence[Cache | None]
    ) -> tuple[torch.Tensor, list[Cache]]:
        """Convolved features [B, T, D] -> (frames [B, T, D], keys and values of every layer, with the past's)."""


# ---- States -----------------------------------------------------------------------------------------------------------


def empty_state(
    carried: Sequence[torch.Tensor], layers: int, heads: int, left: int, size: int, dtype: torch.dtype
) -> EncoderState:
    """The state of new streams, with caches for `left` frames of `size` channels."""
    batch, device = len(carried[0]), carried[0].device
    cache = torch.zeros(batch, heads, left, size // heads, dtype=dtype, device=device)
    count = torch.zeros(batch, dtype=torch.int64, device=device)
    return EncoderState(tuple(carried), (cache,) * layers, (cache,) * layers, count, count)


def advance(
    state: EncoderState,
    carried: Sequence[torch.Tensor],
    caches: Sequence[Cache],
    frames: int,
) -> EncoderState:
    """The state after `frames` further frames; `caches`: keys and values [B, H, left + frames, D / H] of every layer."""
    left = state.keys[0].shape[2]
    keys, values = ([cache[:, :, cache.shape[2] - left :] for cache in side] for side in zip(*caches, strict=True))
    filled = (state.filled + frames).clamp(max=left)
    return EncoderState(tuple(carried), tuple(keys), tuple(values), filled, state.position + frames)


def stack(states: Sequence[State]) -> State:
    """Concatenate the states of several batches. A state is any dataclass of tensors [B, ...] or tuples of them."""
    first = states[0]
    return type(first)(*(_join([getattr(state, f.name) for state in states]) for f in fields(first)))  # type: ignore[arg-type]  # a dataclass


def unstack(state: State) -> list[State]:
    """The states of the rows of a batch: the inverse of `stack`."""
    rows = [_split(getattr(state, f.name)) for f in fields(state)]  # type: ignore[arg-type]  # a dataclass
    return [type(state)(*row) for row in zip(*rows, strict=True)]


def _join(parts: list[Any]) -> Any:
    if isinstance(parts[0], tuple):
        return tuple(_join(list(part)) for part in zip(*parts, strict=True))
    return torch.cat(parts)


def _split(batch: Any) -> list[Any]:
    if isinstance(batch, tuple):
        return list(zip(*(_split(part) for part in batch), strict=True))
    return list(batch.split(1))


# ---- Masks and attention ----------------------------------------------------------------------------------------------


def chunk_mask(frames: int, chunk: int | None, left: int | None, device: torch.device | None = None) -> torch.Tensor:
    """[frames, frames] bool: the keys (last axis) that a query sees, those of its chunk and of `left` chunks before it."""
    if chunk is None:
        return torch.ones(frames, frames, dtype=torch.bool, device=device)
    chunks = torch.arange(frames, device=device) // chunk
    behind = chunks[:, None] - chunks[None, :]  # by how many chunks a key is older than the query
    seen = behind >= 0
    return seen if left is None else seen & (behind <= left)


def length_mask(lengths: torch.Tensor | None, batch: int, frames: int, device: torch.device) -> torch.Tensor:
    """[B, frames] bool: the frames within recordings of `lengths` [B] frames; None: all of them."""
    if lengths is None:
        return torch.ones(batch, frames, dtype=torch.bool, device=device)
    return torch.arange(frames, device=device) < lengths.to(device)[:, None]


def cache_mask(state: EncoderState, frames: int) -> torch.Tensor:
    """[B, 1, 1, left + frames] bool: the keys that the `frames` of a step see, without empty cache positions."""
    left = state.keys[0].shape[2]
    slot = torch.arange(left + frames, device=state.filled.device)
    return (slot >= left - state.filled[:, None])[:, None, None]


def heads(x: torch.Tensor, count: int) -> torch.Tensor:
    """[B, T, D] -> [B, H, T, D / H]."""
    return x.view(*x.shape[:-1], count, -1).transpose(1, 2)


def extend(past: Cache | None, key: torch.Tensor, value: torch.Tensor) -> Cache:
    """Cached keys and values, if any, followed by the new ones [B, H, T, D / H]."""
    if past is None:
        return key, value
    return torch.cat([past[0], key.to(past[0].dtype)], 2), torch.cat([past[1], value.to(past[1].dtype)], 2)


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, seen: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Attention of queries [B, H, T, d] to keys and values [B, H, K, d] -> [B, T, H d].

    `seen` [B, 1, T, K] bool (axes may be 1): the keys that a query sees; a query without any gives zeros. `bias`
    [B, H, T, K] is added to the scaled scores.
    """
    key, value = key.to(query.dtype), value.to(query.dtype)
    low = torch.finfo(query.dtype).min / 2  # finite, for a query that sees no key
    scores = torch.zeros_like(seen, dtype=query.dtype) if bias is None else bias.to(query.dtype)
    mask = scores.masked_fill(~seen, low).expand(-1, -1, query.shape[2], -1)
    out = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)  # [B, H, T, d]
    return (out * seen.any(-1, keepdim=True)).transpose(1, 2).flatten(2)
