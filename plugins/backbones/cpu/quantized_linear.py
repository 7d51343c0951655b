"""Weight matrices in the forms that a CPU reads fast: decoding multiplies one row at a time and waits for the memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own custom)

if TYPE_CHECKING:
    from fobench_plugins.backbones.cpu.fp16_matmul import Halves

Form = Literal["mixed", "int8", "int4"]  # how a matrix is read when few rows are multiplied

GROUP = 32  # inputs that share a scale in the 4-bit form: that of GGUF's Q4_0, Q4_1 and Q4_K
LOSSLESS = 5e-3  # relative error below which the 4-bit form counts as holding a matrix (bfloat16 itself: 1.4e-3)
FEW_ROWS = 8  # up to here the narrow forms are faster (measured for 8 rows: 4-bit 11 ms, bfloat16 16 ms; halves 0.32, float32 0.37)


def pack(dense: DenseMatrix, form: Form | None) -> WeightMatrix:
    """The matrix in a form for few rows, where that form holds it."""
    if form == "int4":
        return Int4Matrix.of(dense) or dense
    if form == "int8":
        return Int8Matrix.of(dense)
    return (form == "mixed" and MixedMatrix.of(dense)) or dense


class WeightMatrix(Protocol):
    """A weight [out, in] in some form; called with x [..., in], gives [..., out]."""

    @property
    def few_bytes(self) -> int:
        """What is read of it where few rows are multiplied."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor: ...


@dataclass(frozen=True, slots=True)
class DenseMatrix:
    """The weight itself."""

    weight: torch.Tensor  # [out, in]
    bias: torch.Tensor | None = None  # [out]

    @property
    def few_bytes(self) -> int:
        return self.weight.nbytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.to(self.weight.dtype).reshape(-1, x.shape[-1])  # [N, in]: oneDNN is 20x slower on a strided [B, 1, in]
        return F.linear(rows, self.weight, self.bias).view(*x.shape[:-1], len(self.weight))


@dataclass(frozen=True, slots=True)
class Int8Matrix:
    """8 bits a weight, one scale an output, bfloat16 in and out; many rows go through the dense form."""

    dense: DenseMatrix
    weight: torch.Tensor  # int8 [out, in]
    scale: torch.Tensor  # [out]

    @classmethod
    def of(cls, dense: DenseMatrix) -> Int8Matrix:
        scale = (dense.weight.float().abs().amax(1) / 127).clamp_min(1e-12)
        rounded = (dense.weight.float() / scale[:, None]).round().to(torch.int8)
        return cls(dense, rounded, scale.to(torch.bfloat16))

    @property
    def few_bytes(self) -> int:
        return self.weight.nbytes + self.scale.nbytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.to(torch.bfloat16).reshape(-1, x.shape[-1])  # [N, in]
        if len(rows) > FEW_ROWS:
            return self.dense(x)
        y = torch._weight_int8pack_mm(rows, self.weight, self.scale)
        return _biased(y, self.dense.bias).view(*x.shape[:-1], y.shape[-1])


@dataclass(frozen=True, slots=True)
class Int4Matrix:
    """4 bits a weight, a scale and an offset for every 32 inputs, bfloat16 in and out; many rows go through the dense form."""

    dense: DenseMatrix
    weight: torch.Tensor  # uint8, in the layout of this CPU's kernel
    scale_offset: torch.Tensor  # bfloat16 [in / 32, out, 2]

    @classmethod
    def of(cls, dense: DenseMatrix) -> Int4Matrix | None:
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

    @property
    def few_bytes(self) -> int:
        return self.weight.nbytes + self.scale_offset.nbytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.to(torch.bfloat16).reshape(-1, x.shape[-1])  # [N, in]
        if len(rows) > FEW_ROWS:
            return self.dense(x)
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self.weight, GROUP, self.scale_offset)
        return _biased(y, self.dense.bias).view(*x.shape[:-1], y.shape[-1])


@dataclass(frozen=True, slots=True)
class MixedMatrix:
    """float16 weights for few rows, float32 for many; whatever else is multiplied or added up is float32."""

    dense: DenseMatrix
    weight: Halves  # [out, in]
    multiply: Callable[[Halves, torch.Tensor], torch.Tensor]

    @classmethod
    def of(cls, dense: DenseMatrix) -> MixedMatrix | None:
        """The mixed form, or None where a weight is too large for float16."""
        from fobench_plugins.backbones.cpu.fp16_matmul import halves, multiply

        bits = halves(dense.weight)
        return None if bits is None else cls(dense, bits, multiply)

    @property
    def few_bytes(self) -> int:
        return self.weight.nbytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if x.numel() > FEW_ROWS * x.shape[-1]:
            return self.dense(x)
        return _biased(self.multiply(self.weight, x), self.dense.bias)


def _biased(y: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return y if bias is None else y.add_(bias)
