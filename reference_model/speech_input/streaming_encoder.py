"""What all speech encoders have in common: their contract, the state of a stream, masks and attention over a cache.

Encoders work in chunks: a frame attends to the frames of its own chunk and of a fixed number of chunks to the left (paper:
speech input). So a stream needs caches of a fixed size, and a step costs the same however long the stream has been.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeVar

import torch
from torch.nn import functional

from reference_model.speech_input.log_mel import FrontEnd

State = TypeVar("State")


@dataclass(frozen=True, slots=True)
class EncoderState:
    """A batch of streams between two steps. It is never written to: to fork a stream, keep the state.

    Streams that have been running for different times can share a batch: what is not yet filled of a cache is masked.
    """

    carried: tuple[torch.Tensor, ...]  # each [B, n, C]: inputs that the convolutions will need again
    keys: tuple[torch.Tensor, ...]  # a layer each [B, H, left, D / H], the newest last, zeros where not yet filled
    values: tuple[torch.Tensor, ...]  # the same
    filled: torch.Tensor  # [B] int64: frames in the caches
    position: torch.Tensor  # [B] int64: frames since the stream began


class SpeechEncoder(Protocol):
    """Features in, frames of size D out. It is an `nn.Module`; `config` is a frozen dataclass with a `build()`."""

    config: Any
    front: FrontEnd  # what makes its features

    @property
    def size(self) -> int:
        """D, the size of a frame."""

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second."""

    @property
    def chunk(self) -> int:
        """Feature frames that a step takes."""

    @property
    def context(self) -> int:
        """Feature frames from before a stream that its first frame depends on."""

    @property
    def device(self) -> torch.device: ...

    def begin(self, batch: int, before: torch.Tensor | None = None) -> EncoderState:
        """New streams; `before` [B, context, mels] are the feature frames just before them. None: what the encoder's own
        docstring says."""

    def step(self, features: torch.Tensor, state: EncoderState) -> tuple[torch.Tensor, EncoderState]:
        """A chunk of features [B, chunk, mels] -> (frames [B, T, D], the next state)."""

    def forward(
        self,
        features: torch.Tensor,
        lengths: torch.Tensor | None = None,
        chunk: int | None = None,
        left: int | None = None,
        before: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Whole recordings: features [B, N, mels] of `lengths` [B] frames -> (frames [B, T, D], mask [B, T] bool).

        `chunk`: frames a chunk, None for full context; `left`: chunks to the left that are seen, None for all.
        With the chunk and left of `config` it equals `step` from `begin(B, before)` on.
        """

    def __call__(
        self,
        features: torch.Tensor,
        lengths: torch.Tensor | None = None,
        chunk: int | None = None,
        left: int | None = None,
        before: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]: ...


# ---- States -----------------------------------------------------------------------------------------------------------


def empty_state(
    carried: Sequence[torch.Tensor], layers: int, heads: int, left: int, size: int, dtype: torch.dtype
) -> EncoderState:
    """The state of streams that begin, with caches for `left` frames of `size` channels."""
    batch, device = len(carried[0]), carried[0].device
    cache = torch.zeros(batch, heads, left, size // heads, dtype=dtype, device=device)
    count = torch.zeros(batch, dtype=torch.int64, device=device)
    return EncoderState(tuple(carried), (cache,) * layers, (cache,) * layers, count, count)


def advance(
    state: EncoderState,
    carried: Sequence[torch.Tensor],
    caches: Sequence[tuple[torch.Tensor, torch.Tensor]],
    frames: int,
) -> EncoderState:
    """The state after `frames` more; `caches` are the keys and values [B, H, left + frames, D / H] of every layer."""
    left = state.keys[0].shape[2]
    keys, values = ([cache[:, :, cache.shape[2] - left :] for cache in side] for side in zip(*caches, strict=True))
    filled = (state.filled + frames).clamp(max=left)
    return EncoderState(tuple(carried), tuple(keys), tuple(values), filled, state.position + frames)


def stack(states: Sequence[State]) -> State:
    """States of several batches as the state of one batch. Any dataclass of tensors [B, ...] or tuples of them will do."""
    first = states[0]
    return type(first)(*(_join([getattr(state, f.name) for state in states]) for f in fields(first)))  # type: ignore[arg-type]


def unstack(state: State) -> list[State]:
    """The state of a batch as one state a row."""
    rows = [_split(getattr(state, f.name)) for f in fields(state)]  # type: ignore[arg-type]
    return [type(state)(*row) for row in zip(*rows, strict=True)]


def _join(parts: list[Any]) -> Any:
    if isinstance(parts[0], tuple):
        return tuple(_join(list(part)) for part in zip(*parts, strict=True))
    return torch.cat(parts)


def _split(whole: Any) -> list[Any]:
    if isinstance(whole, tuple):
        return list(zip(*(_split(part) for part in whole), strict=True))
    return list(whole.split(1))


# ---- Masks and attention ----------------------------------------------------------------------------------------------


def chunk_mask(frames: int, chunk: int | None, left: int | None, device: torch.device | None = None) -> torch.Tensor:
    """[frames, frames] bool: which keys (last axis) a query sees: those of its chunk and of `left` chunks before it."""
    if chunk is None:
        return torch.ones(frames, frames, dtype=torch.bool, device=device)
    of = torch.arange(frames, device=device) // chunk
    behind = of[:, None] - of[None, :]  # chunks that a key is older than the query
    seen = behind >= 0
    return seen if left is None else seen & (behind <= left)


def length_mask(lengths: torch.Tensor | None, batch: int, frames: int, device: torch.device) -> torch.Tensor:
    """[B, frames] bool: which frames are within their recordings of `lengths` [B] frames; all of them for None."""
    if lengths is None:
        return torch.ones(batch, frames, dtype=torch.bool, device=device)
    return torch.arange(frames, device=device) < lengths.to(device)[:, None]


def cache_mask(state: EncoderState, frames: int) -> torch.Tensor:
    """[B, 1, 1, left + frames] bool: which keys the `frames` of a step see, those not yet filled left out."""
    left = state.keys[0].shape[2]
    slot = torch.arange(left + frames, device=state.filled.device)
    return (slot >= left - state.filled[:, None])[:, None, None]


def heads(x: torch.Tensor, count: int) -> torch.Tensor:
    """[B, T, D] -> [B, H, T, D / H]."""
    return x.view(*x.shape[:-1], count, -1).transpose(1, 2)


def extend(
    past: tuple[torch.Tensor, torch.Tensor] | None, key: torch.Tensor, value: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cached keys and values, if any, with the new ones [B, H, T, D / H] behind them."""
    if past is None:
        return key, value
    return torch.cat([past[0], key.to(past[0].dtype)], 2), torch.cat([past[1], value.to(past[1].dtype)], 2)


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, seen: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Attention of queries [B, H, T, d] to keys and values [B, H, K, d] -> [B, T, H d].

    `seen` [B, 1, T, K] bool (axes may be 1) are the keys that a query sees; one that sees none gives zeros. `bias`
    [B, H, T, K] is added to the scaled scores.
    """
    key, value = key.to(query.dtype), value.to(query.dtype)
    low = torch.finfo(query.dtype).min / 2  # finite, for a query that sees no key
    scores = torch.zeros_like(seen, dtype=query.dtype) if bias is None else bias.to(query.dtype)
    mask = scores.masked_fill(~seen, low).expand(-1, -1, query.shape[2], -1)
    out = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)  # [B, H, T, d]
    return (out * seen.any(-1, keepdim=True)).transpose(1, 2).flatten(2)
