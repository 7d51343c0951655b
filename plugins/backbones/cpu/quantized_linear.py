"""Linear layers with narrow weights for CPUs: decoding multiplies one row at a time, and is bound by memory
bandwidth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own custom)

if TYPE_CHECKING:
    from fobench_plugins.backbones.cpu.fp16_matmul import Fp16Bits

Form = Literal["mixed", "int8", "int4"]  # weight format where few rows are multiplied

GROUP = 32  # inputs that share a scale in the 4-bit format, as in GGUF's Q4_0, Q4_1 and Q4_K
MAX_LOSSLESS_ERROR = 5e-3  # relative error below which 4 bits count as lossless (bfloat16: 1.4e-3)
# The narrow formats are faster up to here (8 rows: 4-bit 11 ms, bfloat16 16 ms; float16 0.32 ms, float32 0.37 ms).
FEW_ROWS = 8


def pack(dense: DenseMatrix, form: Form | None) -> WeightMatrix:
    """The matrix in a narrow format, or unchanged where the format cannot represent it."""
    if form == "int4":
        return Int4Matrix.of(dense) or dense
    if form == "int8":
        return Int8Matrix.of(dense)
    return (form == "mixed" and MixedMatrix.of(dense)) or dense


class WeightMatrix(Protocol):
    """A linear layer with a weight [out, in]; maps x [..., in] to [..., out]."""

    @property
    def bytes_per_step(self) -> int:
        """Bytes of weights read where few rows are multiplied."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor: ...


@dataclass(frozen=True, slots=True)
class DenseMatrix:
    """The weight in its own dtype."""

    weight: torch.Tensor  # [out, in]
    bias: torch.Tensor | None = None  # [out]

    @property
    def bytes_per_step(self) -> int:
        return self.weight.nbytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.to(self.weight.dtype).reshape(-1, x.shape[-1])  # [N, in]: oneDNN is 20x slower on a strided [B, 1, in]
        return F.linear(rows, self.weight, self.bias).view(*x.shape[:-1], len(self.weight))


@dataclass(frozen=True, slots=True)
class Int8Matrix:
    """8 bits per weight, one scale per output, bfloat16 in and out; many rows use the dense weight."""

    dense: DenseMatrix
    weight: torch.Tensor  # int8 [out, in]
    scale: torch.Tensor  # [out]

    @classmethod
    def of(cls, dense: DenseMatrix) -> Int8Matrix:
        scale = (dense.weight.float().abs().amax(1) / 127).clamp_min(1e-12)
        rounded = (dense.weight.float() / scale[:, None]).round().to(torch.int8)
        return cls(dense, rounded, scale.to(torch.bfloat16))

    @property
    def bytes_per_step(self) -> int:
        return self.weight.nbytes + self.scale.nbytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.to(torch.bfloat16).reshape(-1, x.shape[-1])  # [N, in]
        if len(rows) > FEW_ROWS:
            return self.dense(x)
        y = torch._weight_int8pack_mm(rows, self.weight, self.scale)
        return _add_bias(y, self.dense.bias).view(*x.shape[:-1], y.shape[-1])


@dataclass(frozen=True, slots=True)
class Int4Matrix:
    """4 bits per weight, a scale and an offset per 32 inputs, bfloat16 in and out; many rows use the dense weight."""

    dense: DenseMatrix
    weight: torch.Tensor  # uint8, in the layout of this CPU's kernel
    scale_offset: torch.Tensor  # bfloat16 [in / 32, out, 2]

    @classmethod
    def of(cls, dense: DenseMatrix) -> Int4Matrix | None:
        """The packed matrix, or None where 4 bits do not represent it without loss."""
        out, inputs = dense.weight.shape
        if inputs % GROUP or out % 64:
            return None
        grouped = dense.weight.float().view(out, inputs // GROUP, GROUP)
        low, high = grouped.amin(-1), grouped.amax(-1)
        scale = ((high - low) / 15).clamp_min(1e-12)
        digits = ((grouped - low[..., None]) / scale[..., None]).round().clamp(0, 15)
        error = (digits * scale[..., None] + low[..., None] - grouped).norm() / grouped.norm()
        if not error < MAX_LOSSLESS_ERROR:
            return None
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(digits.to(torch.int32).view(out, inputs), 1)
        scale_offset = torch.stack([scale, low + 8 * scale], -1).transpose(
            0, 1
        )  # the kernel subtracts 8 from the digits
        return cls(dense, packed, scale_offset.contiguous().to(torch.bfloat16))

    @property
    def bytes_per_step(self) -> int:
        return self.weight.nbytes + self.scale_offset.nbytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.to(torch.bfloat16).reshape(-1, x.shape[-1])  # [N, in]
        if len(rows) > FEW_ROWS:
            return self.dense(x)
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self.weight, GROUP, self.scale_offset)
        return _add_bias(y, self.dense.bias).view(*x.shape[:-1], y.shape[-1])


@dataclass(frozen=True, slots=True)
class MixedMatrix:
    """float16 weights for few rows, float32 weights for many; inputs, products and sums are float32."""

    dense: DenseMatrix
    weight: Fp16Bits  # [out, in]
    fp16_matmul: Callable[[Fp16Bits, torch.Tensor], torch.Tensor]

    @classmethod
    def of(cls, dense: DenseMatrix) -> MixedMatrix | None:
        """The float16 matrix, or None where a weight exceeds the range of float16."""
        from fobench_plugins.backbones.cpu.fp16_matmul import fp16_matmul, to_fp16_bits

        bits = to_fp16_bits(dense.weight)
        return None if bits is None else cls(dense, bits, fp16_matmul)

    @property
    def bytes_per_step(self) -> int:
        return self.weight.nbytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if x.numel() > FEW_ROWS * x.shape[-1]:
            return self.dense(x)
        return _add_bias(self.fp16_matmul(self.weight, x), self.dense.bias)


def _add_bias(y: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return y if bias is None else y.add_(bias)
