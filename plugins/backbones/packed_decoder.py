"""A lean forward pass for Llama-style decoders: equal results, less overhead than transformers, several conversations at once.

A step of an LLM is bound by memory bandwidth and, for a small one, by the overhead of Python and of kernel launches. Therefore
query/key/value and gate/up are fused into one matrix each, the KV cache is preallocated, and the weights are read once for the
steps of all conversations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own custom)

ARCHITECTURES = ("LlamaForCausalLM", "Qwen2ForCausalLM", "MistralForCausalLM")
FIRST_CAPACITY = 256  # positions of a new cache; doubled when full


@dataclass(slots=True)
class PackedKVCache:
    """Keys and values of all layers, `length` positions in preallocated buffers."""

    keys: list[torch.Tensor]  # per layer: [B, Hkv, capacity, head]
    values: list[torch.Tensor]
    length: int = 0

    @property
    def capacity(self) -> int:
        return self.keys[0].shape[2]

    def reserve(self, length: int) -> None:
        """Enlarges the buffers to at least `length` positions."""
        if length > self.capacity:
            capacity = max(length, 2 * self.capacity)
            self.keys = [_enlarge(k, self.length, capacity) for k in self.keys]
            self.values = [_enlarge(v, self.length, capacity) for v in self.values]

    def copy(self) -> PackedKVCache:
        keys = [_enlarge(k, self.length, k.shape[2]) for k in self.keys]
        return PackedKVCache(keys, [_enlarge(v, self.length, v.shape[2]) for v in self.values], self.length)

    def truncate(self, length: int) -> PackedKVCache:
        """The same cache, truncated to its first `length` positions."""
        self.length = length
        return self


def _enlarge(buffer: torch.Tensor, used: int, capacity: int) -> torch.Tensor:
    """A new buffer of `capacity` positions, with the first `used` ones copied."""
    batch, heads, _, size = buffer.shape
    new = buffer.new_empty(batch, heads, capacity, size)
    new[:, :, :used] = buffer[:, :, :used]
    return new


@dataclass(frozen=True, slots=True)
class Matrix:
    """A linear layer: maps x [..., in] to [..., out] in the weight's dtype."""

    weight: torch.Tensor  # [out, in]
    bias: torch.Tensor | None = None  # [out]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.to(self.weight.dtype).reshape(-1, x.shape[-1])  # [N, in]: oneDNN is 20x slower on a strided [B, 1, in]
        return F.linear(rows, self.weight, self.bias).view(*x.shape[:-1], len(self.weight))


@dataclass(frozen=True, slots=True)
class PackedLayer:
    """The weights of one decoder layer."""

    attention_norm: torch.Tensor  # [D]
    qkv: Matrix
    out: Matrix
    mlp_norm: torch.Tensor  # [D]
    gate_up: Matrix
    down: Matrix


@dataclass(frozen=True, slots=True)
class CacheSpan:
    """The positions [start, end) that a step adds to a cache, and their attention mask [T, S] (None: all visible)."""

    cache: PackedKVCache
    start: int
    end: int
    mask: torch.Tensor | None


class PackedDecoder:
    """The decoder of a Llama, Mistral or Qwen2 model of transformers, sharing the model's parameters, which must stay
    frozen.

    The residual stream is float32; matrix products use the parameters' dtype. On a CPU the cache is float32: without
    bfloat16 instructions, attention in bfloat16 takes 3 to 15 times as long, and the numbers shall not depend on the CPU.
    """

    def __init__(self, model: Any) -> None:
        config, decoder = model.config, model.model
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.eps = config.rms_norm_eps
        self.layers = [_pack_layer(layer) for layer in decoder.layers]
        self.norm = decoder.norm.weight.float()
        self.output = Matrix(model.lm_head.weight)
        self.device = model.lm_head.weight.device
        on_cpu = self.device.type == "cpu"
        self.dtype = torch.float32 if on_cpu else model.lm_head.weight.dtype  # of the cache and of attention
        self._rotary = decoder.rotary_emb
        self._cos = self._sin = torch.empty(0, self.head)
        self._extend_rotary_tables(FIRST_CAPACITY)

    @staticmethod
    def supports(model: Any) -> bool:
        """Whether this class implements the model's forward pass."""
        config = model.config
        rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
        return (
            type(model).__name__ in ARCHITECTURES
            and not _has_sliding_window(config)
            and config.hidden_act == "silu"
            and rope in ("default", "linear", "llama3")
            and not getattr(config, "mlp_bias", False)
            and set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
            and len({p.device for p in model.parameters()}) == 1
        )

    def new_cache(self, batch: int, length: int) -> PackedKVCache:
        capacity = max(FIRST_CAPACITY, 2 * length)
        shape = (batch, self.kv_heads, capacity, self.head)
        buffers = [torch.empty(shape, dtype=self.dtype, device=self.device) for _ in range(2 * len(self.layers))]
        return PackedKVCache(buffers[0::2], buffers[1::2])

    def __call__(self, x: torch.Tensor, cache: PackedKVCache | None) -> tuple[torch.Tensor, PackedKVCache]:
        """[B, T, D] -> (final-norm hidden [B, T, D] float32, the cache, now T positions longer)."""
        hidden, caches = self.forward_many([x], [cache])
        return hidden[0], caches[0]

    def forward_many(
        self, xs: Sequence[torch.Tensor], caches: Sequence[PackedKVCache | None]
    ) -> tuple[list[torch.Tensor], list[PackedKVCache]]:
        """Steps of several conversations, each [B, T, D] with its own T and cache; the weights are read once for all
        of them.
        """
        lengths = [x.shape[1] for x in xs]
        steps = [self._reserve_span(x, cache) for x, cache in zip(xs, caches, strict=True)]
        cos = torch.cat([self._cos[s.start : s.end, None] for s in steps])  # [sum T, 1, head]
        sin = torch.cat([self._sin[s.start : s.end, None] for s in steps])
        x = torch.cat(
            [x.to(self.device, torch.float32) for x in xs], 1
        )  # [B, sum T, D]: a copy, added to in place below
        for i, layer in enumerate(self.layers):
            normed = F.rms_norm(x, x.shape[-1:], layer.attention_norm, self.eps)
            qkv = layer.qkv(normed).view(*x.shape[:2], -1, self.head)  # [B, sum T, H + 2 Hkv, head]
            rotated = self._apply_rotary(qkv[:, :, : self.heads + self.kv_heads], cos, sin)
            new = (rotated.split(lengths, 1), qkv[:, :, self.heads + self.kv_heads :].split(lengths, 1))
            attended = [self._attend(i, step, qk, v) for step, qk, v in zip(steps, *new, strict=True)]
            x += layer.out(attended[0] if len(attended) == 1 else torch.cat(attended, 1))
            normed = F.rms_norm(x, x.shape[-1:], layer.mlp_norm, self.eps)
            gate, up = layer.gate_up(normed).chunk(2, -1)
            x += layer.down(F.silu(gate).mul_(up))
        for step in steps:
            step.cache.length = step.end
        hidden = F.rms_norm(x, x.shape[-1:], self.norm, self.eps).split(lengths, 1)
        return list(hidden), [step.cache for step in steps]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[B, T, D] -> [B, T, V] float32."""
        return self.output(hidden).float()

    def _reserve_span(self, x: torch.Tensor, cache: PackedKVCache | None) -> CacheSpan:
        """Reserves positions for x [B, T, D] at the end of `cache`."""
        batch, length, _ = x.shape
        cache = cache or self.new_cache(batch, length)
        start, end = cache.length, cache.length + length
        cache.reserve(end)
        self._extend_rotary_tables(end)
        mask = None if length == 1 else torch.ones(length, end, dtype=torch.bool, device=self.device).tril(start)
        return CacheSpan(cache, start, end, mask)

    def _attend(self, layer: int, step: CacheSpan, qk: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attention of one conversation: rotated queries and keys [B, T, H + Hkv, head], values [B, T, Hkv, head] ->
        [B, T, H * head].
        """
        keys, values = step.cache.keys[layer], step.cache.values[layer]
        keys[:, :, step.start : step.end] = qk[:, :, self.heads :].transpose(1, 2)
        values[:, :, step.start : step.end] = v.transpose(1, 2)
        query = qk[:, :, : self.heads].transpose(1, 2).to(self.dtype)  # [B, H, T, head]
        keys, values = keys[:, :, : step.end], values[:, :, : step.end]
        attended = F.scaled_dot_product_attention(query, keys, values, attn_mask=step.mask, enable_gqa=True)
        return attended.transpose(1, 2).flatten(2)

    def _apply_rotary(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """Rotary position embedding of x [B, T, H, head], in float32."""
        return torch.addcmul(x * cos, x.roll(self.head // 2, -1), sin)

    def _extend_rotary_tables(self, length: int) -> None:
        """Extends the cosine and (signed) sine tables of the rotary embedding [S, head] to at least `length`
        positions.
        """
        if length <= len(self._cos):
            return
        positions = torch.arange(2 * length, device=self.device)[None]
        cos, sin = self._rotary(torch.empty(0, dtype=torch.float32, device=self.device), positions)
        sin[..., : self.head // 2] *= -1
        self._cos, self._sin = cos[0], sin[0]


def _has_sliding_window(config: Any) -> bool:
    """Whether layers use sliding-window attention. The config of Qwen2 names a window even if it is not used."""
    return bool(getattr(config, "sliding_window", None)) and getattr(config, "use_sliding_window", True)


def _pack_layer(layer: Any) -> PackedLayer:
    attention, mlp = layer.self_attn, layer.mlp
    return PackedLayer(
        attention_norm=layer.input_layernorm.weight.float(),
        qkv=_fuse(attention.q_proj, attention.k_proj, attention.v_proj),
        out=_fuse(attention.o_proj),
        mlp_norm=layer.post_attention_layernorm.weight.float(),
        gate_up=_fuse(mlp.gate_proj, mlp.up_proj),
        down=_fuse(mlp.down_proj),
    )


def _fuse(*linears: Any) -> Matrix:
    """The matrices concatenated along the output; the model's parameters become views of the result, to save memory."""
    if len(linears) == 1:
        return Matrix(linears[0].weight.data, None if linears[0].bias is None else linears[0].bias.data)
    weight = torch.cat([linear.weight.data for linear in linears])
    start = 0
    for linear in linears:
        linear.weight.data = weight[start : start + linear.out_features]
        start += linear.out_features
    biased = linears[0].bias is not None
    return Matrix(weight, torch.cat([linear.bias.data for linear in linears]) if biased else None)
