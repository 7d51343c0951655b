"""Linear maps and convolutions of few rows on a CPU, with the weights in float16 where that loses nothing.

A step of a live session multiplies matrices with one row or a few, which takes as long as it takes to read the matrices. FBGEMM's
kernel reads float16 weights, and multiplies and adds in float32. The released checkpoints consist of float16 numbers, so the products
are those of float32 weights up to the order of summation, in half to two thirds of the time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class PackedLinear:
    """One or more linear maps of the same input, x [..., in] -> the output of each [..., out].

    In inference on a CPU they are computed as one matrix in float16, packed when first used and whenever the weights have changed.
    Training, other devices, and weights that float16 does not represent use the modules themselves.
    """

    def __init__(self, *parts: nn.Linear | nn.Conv1d) -> None:
        self.parts, self._sizes = parts, [len(part.weight) for part in parts]
        self._key: object = None  # of the weights that `_weights` was made of
        self._weights: Any = None  # None: there is none for these weights

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        if (weights := self._packed(x)) is None:
            return tuple([part(x) for part in self.parts])
        joined: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, weights)
        return joined.split(self._sizes, -1) if len(self._sizes) > 1 else (joined,)

    def __reduce__(self) -> tuple[type[PackedLinear], tuple[nn.Module, ...]]:
        return type(self), self.parts  # a copy of a module packs its own weights

    def _packed(self, x: Tensor) -> Any:
        """FBGEMM's packed weights; None where the modules themselves compute x."""
        if not x.is_cpu or x.dtype != torch.float32 or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return None
        parts = self.parts
        key = tuple([_state(part) for part in parts])
        if key != self._key:
            self._weights, self._key = _pack(parts), key
        return self._weights


class PackedConv1d(PackedLinear):
    """A convolution without padding, dilation or groups, x [B, T, in] -> [B, T', out], as a linear map of windows."""

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__(conv)
        self._kernel, self._stride = conv.kernel_size[0], conv.stride[0]

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        if x.shape[1] < self._kernel or (weights := self._packed(x)) is None:
            return (self.parts[0](x.transpose(1, 2)).transpose(1, 2),)
        windows = x.unfold(1, self._kernel, self._stride).flatten(2)  # [B, T', in * kernel]
        return (torch.ops.quantized.linear_dynamic_fp16(windows, weights),)


def _state(part: nn.Linear | nn.Conv1d) -> tuple[int, int, int]:
    """What changes where other weights, a new value of the same weights, or hooks are set."""
    weight = part.weight
    return weight.data_ptr(), 0 if weight.is_inference() else weight._version, len(part._forward_hooks)


def _pack(parts: tuple[nn.Linear | nn.Conv1d, ...]) -> Any:
    """FBGEMM's weights and biases; None where float16 does not represent them, for a module with hooks, or without FBGEMM."""
    weights = [part.weight.detach().flatten(1) for part in parts]
    if any(len(part._forward_hooks) for part in parts):
        return None
    if any(weight.dtype != torch.float32 or not torch.equal(weight.half().float(), weight) for weight in weights):
        return None
    biases = [torch.zeros(len(part.weight)) if part.bias is None else part.bias.detach() for part in parts]
    try:
        return torch.ops.quantized.linear_prepack_fp16(torch.cat(weights), torch.cat(biases))
    except (AttributeError, RuntimeError):  # torch for ARM has no FBGEMM
        return None
