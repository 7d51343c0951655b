"""Llama decoder layers: RMSNorm, rotary positions, gated MLP, no biases. The caller gives the attention mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from reference_model.packed_linear import PackedLinear

GROWTH = 2  # a full cache doubles

Pairs = Sequence[tuple[torch.Tensor, torch.Tensor]]  # keys and values of each layer
Rotary = tuple[torch.Tensor, torch.Tensor]  # cosine and signed sine of the positions, [..., 1, T, head] each


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """Sizes of a stack of layers."""

    size: int  # D
    heads: int
    ffn: int
    layers: int
    theta: float = 10_000.0  # base of the rotary frequencies
    eps: float = 1e-6
    rotary_bf16: bool = False  # rotary frequencies rounded to bfloat16 (published weights)

    @property
    def head(self) -> int:
        return self.size // self.heads


@dataclass(slots=True)
class KVCache:
    """Rotated keys and values of every layer, [B, H, capacity, head] each, of which `length` positions are filled.

    Appending writes in place, at a cost that does not depend on the length: `fork` for a copy.
    """

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    length: int = 0

    @classmethod
    def of(cls, pairs: Pairs, room: int) -> KVCache:
        """A cache of `pairs` with free space for `room` further positions."""
        length = pairs[0][0].shape[2]
        keys, values = ([_grown(side, length, length + room) for side in sides] for sides in zip(*pairs, strict=True))
        return cls(keys, values, length)

    def append(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Write [B, H, T, head] behind `length`, and return all [B, H, length + T, head]; the caller advances `length`."""
        end = self.length + key.shape[2]
        if end > self.keys[layer].shape[2]:
            for buffers in (self.keys, self.values):
                buffers[layer] = _grown(buffers[layer], self.length, max(end, GROWTH * buffers[layer].shape[2]))
        self.keys[layer][:, :, self.length : end] = key
        self.values[layer][:, :, self.length : end] = value
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]

    def fork(self) -> KVCache:
        """An independent copy."""
        keys = [_grown(k, self.length, k.shape[2]) for k in self.keys]
        return KVCache(keys, [_grown(v, self.length, v.shape[2]) for v in self.values], self.length)

    def crop(self, length: int) -> KVCache:
        """The same cache, cut to its first `length` positions."""
        self.length = length
        return self


@cache
def frequencies(head: int, theta: float, rounded: bool, device: torch.device) -> torch.Tensor:
    """Rotary frequencies [head / 2], float32, in radians per position. `rounded`: to bfloat16."""
    steps = torch.arange(0, head, 2, dtype=torch.float32, device=device) / head
    rates = 1.0 / theta**steps
    return rates.bfloat16().float() if rounded else rates


def rotary_embedding(config: LlamaConfig, positions: torch.Tensor) -> Rotary:
    """Rotary position embedding, half-split: positions [T] or [B, T] -> cosine and sine [..., 1, T, head], float32.

    The sine is negative in the first half, for `rotate`.
    """
    rates = frequencies(config.head, config.theta, config.rotary_bf16, positions.device)
    angles = positions[..., None].float() * rates  # [..., T, head / 2]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], -1).unsqueeze(-3), torch.cat([-sin, sin], -1).unsqueeze(-3)


def rotate(x: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    """x [B, H, T, head], rotated by its positions."""
    cos, sin = rotary
    exact = x.float()
    return (exact * cos + exact.roll(x.shape[-1] // 2, -1) * sin).to(x.dtype)


class LlamaLayer(nn.Module):
    """One pre-norm layer."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.attention_norm = nn.RMSNorm(config.size, config.eps)
        self.query, self.key, self.value, self.out = (nn.Linear(config.size, config.size, bias=False) for _ in range(4))
        self.mlp_norm = nn.RMSNorm(config.size, config.eps)
        self.gate, self.up = (nn.Linear(config.size, config.ffn, bias=False) for _ in range(2))
        self.down = nn.Linear(config.ffn, config.size, bias=False)
        self._query_key_value = PackedLinear(self.query, self.key, self.value)
        self._gate_up = PackedLinear(self.gate, self.up)
        self._out, self._down = PackedLinear(self.out), PackedLinear(self.down)

    def project(self, x: torch.Tensor, rotary: Rotary) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """x [B, T, D] -> rotated queries and keys, and values, [B, H, T, head] each."""
        parts = self._query_key_value(self.attention_norm(x))
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        return rotate(query, rotary), rotate(key, rotary), value

    def finish(self, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Residual x [B, T, D] and the attention's output [B, H, T, head] -> [B, T, D]."""
        x = x + self._out(attended.transpose(1, 2).flatten(2))[0]
        gate, up = self._gate_up(self.mlp_norm(x))
        return x + self._down(F.silu(gate) * up)[0]


class LlamaStack(nn.ModuleList):
    """A stack of layers."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(LlamaLayer(config) for _ in range(config.layers))
        self.config = config
        self._steps: list[tuple[Callable[..., Any], Callable[..., Any]]] | None = None

    if TYPE_CHECKING:  # torch's ModuleList does not know the type of its members

        def __iter__(self) -> Iterator[LlamaLayer]: ...

    def compile_steps(self, mode: str = "default") -> None:
        """Compile the parts of `step_many` around attention with torch.compile: same results, fewer kernels.

        `mode` is torch.compile's; "reduce-overhead" uses CUDA graphs.
        """
        compiled = partial(torch.compile, mode=mode)
        self._steps = [(compiled(layer.project), compiled(layer.finish)) for layer in self]

    def forward(
        self,
        x: torch.Tensor,
        rotary: Rotary,
        past: Pairs | None = None,
        mask: torch.Tensor | None = None,
        *,
        output: bool = True,
    ) -> tuple[torch.Tensor, Pairs]:
        """x [B, T, D] -> (x [B, T, D], before the final norm; rotated keys and values of every layer, [B, H, S, head], `past` first).

        `mask` [B or 1, 1, T, S] bool: the positions that each query sees; None: all, in both directions. `output`: whether x is
        needed; else it is the last layer's input, of which only keys and values are computed.
        """
        pairs = []
        for i, layer in enumerate(self):
            query, key, value = layer.project(x, rotary)
            if past is not None:
                key, value = torch.cat([past[i][0], key], 2), torch.cat([past[i][1], value], 2)
            if output or i < len(self) - 1:
                x = layer.finish(x, F.scaled_dot_product_attention(query, key, value, attn_mask=mask))
            pairs.append((key, value))
        return x, pairs

    def step_many(self, x: torch.Tensor, rotary: Rotary, caches: list[KVCache]) -> torch.Tensor:
        """One position [S, 1, D] of each of S sequences with caches of their own, as one batch."""
        for i, (project, finish) in enumerate(self._steps or [(layer.project, layer.finish) for layer in self]):
            query, key, value = project(x, rotary)
            attended = []
            for row, held in enumerate(caches):
                past = held.append(i, key[row : row + 1], value[row : row + 1])
                attended.append(F.scaled_dot_product_attention(query[row : row + 1], *past))
            x = finish(x, torch.cat(attended) if len(attended) > 1 else attended[0])
        for held in caches:
            held.length += 1
        return x


def _grown(buffer: torch.Tensor, used: int, capacity: int) -> torch.Tensor:
    """A new buffer with `capacity` positions and the first `used` of the old one's."""
    new = buffer.new_empty(*buffer.shape[:2], capacity, buffer.shape[3])
    new[:, :, :used] = buffer[:, :, :used]
    return new
