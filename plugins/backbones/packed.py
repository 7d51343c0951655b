"""A lean forward pass for Llama-shaped decoders: the same numbers as the model's own, several times the speed on a CPU.

A step of a small LLM on a CPU is bound by memory reads and by Python. So query/key/value and gate/up are one matrix each, the
KV cache is allocated ahead, and matrices that 4 (or 8) bits hold are read in that form when few rows are multiplied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own custom)

GROUP = 32  # inputs that share a scale in the 4-bit form: that of GGUF's Q4_0, Q4_1 and Q4_K
LOSSLESS = 5e-3  # relative error below which the 4-bit form counts as holding a matrix (bfloat16 itself: 1.4e-3)
FEW_ROWS = 8  # up to here the packed forms are faster than bfloat16 (measured: 4-bit 11 ms, bfloat16 16 ms for 8 rows)
ARCHITECTURES = ("LlamaForCausalLM", "Qwen2ForCausalLM", "MistralForCausalLM")
FIRST_CAPACITY = 256  # positions a new cache has room for; doubled when full


class Matrix(Protocol):
    """A weight [out, in] in some form; called with x [..., in], gives [..., out]."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor: ...


@dataclass(frozen=True, slots=True)
class Dense:
    """The weight itself."""

    weight: torch.Tensor  # [out, in]
    bias: torch.Tensor | None = None  # [out]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.to(self.weight.dtype).reshape(-1, x.shape[-1])  # [N, in]: oneDNN is 20x slower on a strided [B, 1, in]
        return F.linear(rows, self.weight, self.bias).view(*x.shape[:-1], len(self.weight))


@dataclass(frozen=True, slots=True)
class Int8:
    """8 bits a weight, one scale an output, bfloat16 in and out; many rows go through the dense form."""

    dense: Dense
    weight: torch.Tensor  # int8 [out, in]
    scale: torch.Tensor  # [out]

    @classmethod
    def of(cls, dense: Dense) -> Int8:
        scale = (dense.weight.float().abs().amax(1) / 127).clamp_min(1e-12)
        rounded = (dense.weight.float() / scale[:, None]).round().to(torch.int8)
        return cls(dense, rounded, scale.to(torch.bfloat16))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.to(torch.bfloat16).reshape(-1, x.shape[-1])  # [N, in]
        if len(rows) > FEW_ROWS:
            return self.dense(x)
        y = torch._weight_int8pack_mm(rows, self.weight, self.scale)
        return _biased(y, self.dense.bias).view(*x.shape[:-1], y.shape[-1])


@dataclass(frozen=True, slots=True)
class Int4:
    """4 bits a weight, a scale and an offset for every 32 inputs, bfloat16 in and out; many rows go through the dense form."""

    dense: Dense
    weight: torch.Tensor  # uint8, in the layout of this CPU's kernel
    scale_offset: torch.Tensor  # bfloat16 [in / 32, out, 2]

    @classmethod
    def of(cls, dense: Dense) -> Int4 | None:
        """The packed form, or None where 4 bits do not hold the matrix without loss."""
        out, inputs = dense.weight.shape
        if inputs % GROUP or out % 64:
            return None
        grouped = dense.weight.float().view(out, inputs // GROUP, GROUP)
        low, high = grouped.amin(-1), grouped.amax(-1)
        scale = ((high - low) / 15).clamp_min(1e-12)
        digits = ((grouped - low[..., None]) / scale[..., None]).round().clamp(0, 15)
        error = (digits * scale[..., None] + low[..., None] - grouped).norm() / grouped.norm()
        if not error < LOSSLESS:
            return None
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(digits.to(torch.int32).view(out, inputs), 1)
        scale_offset = torch.stack([scale, low + 8 * scale], -1).transpose(0, 1)  # the kernel counts from 8
        return cls(dense, packed, scale_offset.contiguous().to(torch.bfloat16))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.to(torch.bfloat16).reshape(-1, x.shape[-1])  # [N, in]
        if len(rows) > FEW_ROWS:
            return self.dense(x)
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self.weight, GROUP, self.scale_offset)
        return _biased(y, self.dense.bias).view(*x.shape[:-1], y.shape[-1])


def _biased(y: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return y if bias is None else y.add_(bias)


@dataclass(slots=True)
class KVCache:
    """Keys and values of all layers up to `length` positions, in buffers with room for more."""

    keys: list[torch.Tensor]  # a layer: [B, Hkv, capacity, head]
    values: list[torch.Tensor]
    length: int = 0

    @property
    def capacity(self) -> int:
        return self.keys[0].shape[2]

    def reserve(self, length: int) -> None:
        """Make room for `length` positions in all."""
        if length > self.capacity:
            capacity = max(length, 2 * self.capacity)
            self.keys = [_grown(k, self.length, capacity) for k in self.keys]
            self.values = [_grown(v, self.length, capacity) for v in self.values]

    def copy(self) -> KVCache:
        keys = [_grown(k, self.length, k.shape[2]) for k in self.keys]
        return KVCache(keys, [_grown(v, self.length, v.shape[2]) for v in self.values], self.length)

    def cut(self, length: int) -> KVCache:
        """The same cache, cut to its first `length` positions."""
        self.length = length
        return self


def _grown(buffer: torch.Tensor, used: int, capacity: int) -> torch.Tensor:
    """A new buffer with `capacity` positions and the first `used` of the old one's."""
    batch, heads, _, size = buffer.shape
    new = buffer.new_empty(batch, heads, capacity, size)
    new[:, :, :used] = buffer[:, :, :used]
    return new


@dataclass(frozen=True, slots=True)
class Layer:
    """The weights of one decoder layer."""

    attention_norm: torch.Tensor  # [D]
    qkv: Matrix
    out: Matrix
    mlp_norm: torch.Tensor  # [D]
    gate_up: Matrix
    down: Matrix


@dataclass(frozen=True, slots=True)
class Stretch:
    """The positions that a step adds to a conversation's cache, and which positions each may see [T, S] (None: all)."""

    cache: KVCache
    start: int
    end: int
    mask: torch.Tensor | None


class PackedDecoder:
    """The decoder of a Llama, Mistral or Qwen2 model of transformers. It shares the model's parameters, which must stay frozen.

    The residual stream is float32; matrices multiply in the parameters' dtype (or from 4 or 8 bits).
    """

    def __init__(self, model: Any, bits: int | None = None) -> None:
        config, decoder = model.config, model.model
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.eps = config.rms_norm_eps
        self.layers = [_layer(layer, bits) for layer in decoder.layers]
        self.norm = decoder.norm.weight.float()
        self.output: Matrix = _pack(Dense(model.lm_head.weight), bits)
        self.dtype, self.device = model.lm_head.weight.dtype, model.lm_head.weight.device
        self._rotary = decoder.rotary_emb
        self._cos = self._sin = torch.empty(0, self.head)
        self._rotate(FIRST_CAPACITY)

    @staticmethod
    def fits(model: Any) -> bool:
        """Whether this model's forward pass is the one written here."""
        config = model.config
        rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
        return (
            type(model).__name__ in ARCHITECTURES
            and not _slides(config)
            and config.hidden_act == "silu"
            and rope in ("default", "linear", "llama3")
            and not getattr(config, "mlp_bias", False)
            and set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
            and len({p.device for p in model.parameters()}) == 1
        )

    def new_cache(self, batch: int, length: int) -> KVCache:
        capacity = max(FIRST_CAPACITY, 2 * length)
        shape = (batch, self.kv_heads, capacity, self.head)
        buffers = [torch.empty(shape, dtype=self.dtype, device=self.device) for _ in range(2 * len(self.layers))]
        return KVCache(buffers[0::2], buffers[1::2])

    def __call__(self, x: torch.Tensor, cache: KVCache | None) -> tuple[torch.Tensor, KVCache]:
        """[B, T, D] -> (final-norm hidden [B, T, D] float32, the cache, now T positions longer)."""
        hidden, caches = self.together([x], [cache])
        return hidden[0], caches[0]

    def together(
        self, xs: Sequence[torch.Tensor], caches: Sequence[KVCache | None]
    ) -> tuple[list[torch.Tensor], list[KVCache]]:
        """Steps of several conversations, each [B, T, D] with a T and a cache of its own: weights are read once for all."""
        lengths = [x.shape[1] for x in xs]
        steps = [self._stretch(x, cache) for x, cache in zip(xs, caches, strict=True)]
        cos = torch.cat([self._cos[s.start : s.end, None] for s in steps])  # [sum T, 1, head]
        sin = torch.cat([self._sin[s.start : s.end, None] for s in steps])
        x = torch.cat([x.to(self.device, torch.float32) for x in xs], 1)  # [B, sum T, D]; added to in place below
        x = x.clone() if len(xs) == 1 else x
        for i, layer in enumerate(self.layers):
            normed = F.rms_norm(x, x.shape[-1:], layer.attention_norm, self.eps)
            qkv = layer.qkv(normed).view(*x.shape[:2], -1, self.head)  # [B, sum T, H + 2 Hkv, head]
            turned = self._turned(qkv[:, :, : self.heads + self.kv_heads], cos, sin)
            new = (turned.split(lengths, 1), qkv[:, :, self.heads + self.kv_heads :].split(lengths, 1))
            heard = [self._attend(i, step, qk, v) for step, qk, v in zip(steps, *new, strict=True)]
            x += layer.out(heard[0] if len(heard) == 1 else torch.cat(heard, 1))
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

    def _stretch(self, x: torch.Tensor, cache: KVCache | None) -> Stretch:
        """Room for x [B, T, D] after what `cache` holds."""
        batch, length, _ = x.shape
        cache = cache or self.new_cache(batch, length)
        start, end = cache.length, cache.length + length
        cache.reserve(end)
        self._rotate(end)
        mask = None if length == 1 else torch.ones(length, end, dtype=torch.bool, device=self.device).tril(start)
        return Stretch(cache, start, end, mask)

    def _attend(self, layer: int, step: Stretch, qk: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attention of one conversation: turned queries and keys [B, T, H + Hkv, head], values -> [B, T, H * head]."""
        keys, values = step.cache.keys[layer], step.cache.values[layer]
        keys[:, :, step.start : step.end] = qk[:, :, self.heads :].transpose(1, 2)
        values[:, :, step.start : step.end] = v.transpose(1, 2)
        query = qk[:, :, : self.heads].transpose(1, 2).to(self.dtype)  # [B, H, T, head]
        heard = F.scaled_dot_product_attention(
            query, keys[:, :, : step.end], values[:, :, : step.end], attn_mask=step.mask, enable_gqa=True
        )
        return heard.transpose(1, 2).flatten(2)

    def _turned(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """Rotary position embedding of x [B, T, H, head], in float32."""
        return torch.addcmul(x * cos, x.roll(self.head // 2, -1), sin)

    def _rotate(self, length: int) -> None:
        """Make the tables of the rotary embedding reach `length` positions: [S, head], the sine with its sign."""
        if length <= len(self._cos):
            return
        positions = torch.arange(2 * length, device=self.device)[None]
        cos, sin = self._rotary(torch.empty(0, dtype=torch.float32, device=self.device), positions)
        sin[..., : self.head // 2] *= -1
        self._cos, self._sin = cos[0], sin[0]


def _slides(config: Any) -> bool:
    """Whether a layer sees a window of the past only. Qwen2 names a window that it may not use."""
    return bool(getattr(config, "sliding_window", None)) and getattr(config, "use_sliding_window", True)


def _layer(layer: Any, bits: int | None) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    return Layer(
        attention_norm=layer.input_layernorm.weight.float(),
        qkv=_pack(_fused(attention.q_proj, attention.k_proj, attention.v_proj), bits),
        out=_pack(_fused(attention.o_proj), bits),
        mlp_norm=layer.post_attention_layernorm.weight.float(),
        gate_up=_pack(_fused(mlp.gate_proj, mlp.up_proj), bits),
        down=_pack(_fused(mlp.down_proj), bits),
    )


def _fused(*linears: Any) -> Dense:
    """The matrices one below the other; the model's own parameters become views of it, so nothing is held twice."""
    if len(linears) == 1:
        return Dense(linears[0].weight.data, None if linears[0].bias is None else linears[0].bias.data)
    weight = torch.cat([linear.weight.data for linear in linears])
    start = 0
    for linear in linears:
        linear.weight.data = weight[start : start + linear.out_features]
        start += linear.out_features
    biased = linears[0].bias is not None
    return Dense(weight, torch.cat([linear.bias.data for linear in linears]) if biased else None)


def _pack(dense: Dense, bits: int | None) -> Matrix:
    if bits == 4:
        return Int4.of(dense) or dense
    return Int8.of(dense) if bits == 8 else dense
