"""Matrix products with float16 weights for CPUs without 16-bit arithmetic: weights are converted to float32 as they are
read.

torch reaches half of the memory bandwidth on such a CPU, this loop all of it. The format is float16 rather than
bfloat16, since it rounds 4-bit weights with float16 scales 8 times finer, and represents bfloat16 weights as well.
"""

from __future__ import annotations

import threading
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch

ONE_AT_A_TIME = threading.Lock()  # numba's thread pool runs one parallel loop at a time
SIGNATURE = "void(int16[:, ::1], float32[:, ::1], float32[:, ::1])"
OPTIONS: dict[str, Any] = {"fastmath": True, "nogil": True, "cache": True, "error_model": "numpy"}
EXPONENT_SCALE = np.float32(
    2.0**56
)  # applied twice, it corrects the exponent bias of float16 bits in a float32; exact for subnormals too
BIT_MASK = np.int32(-0x70002000)  # 0x8fffe000: mask of the sign, and of exponent and mantissa shifted by 13
EXPONENT = 0x7C00  # exponent bits of float16, all set in non-finite values

Fp16Bits = npt.NDArray[np.int16]  # [out, in]: the bits of float16


def to_fp16_bits(weight: torch.Tensor) -> Fp16Bits | None:
    """Bits of the weight [out, in] in float16; None if a value exceeds the range of float16."""
    rounded = weight.to(torch.float16).view(torch.int16)
    bits: Fp16Bits = rounded.numpy()
    return bits if (rounded & EXPONENT).max() < EXPONENT else None  # torch's isfinite takes 7 times as long in float16


def fp16_matmul(weight: Fp16Bits, x: torch.Tensor) -> torch.Tensor:
    """[out, in] float16 times x [..., in] float32 -> [..., out] float32, with as many threads as torch has.

    Called about 120 times per token, where numpy has less than half of torch's overhead.
    """
    inputs = x.numpy()
    rows = inputs.reshape(-1, inputs.shape[-1]) * EXPONENT_SCALE
    y = np.empty((len(rows), len(weight)), np.float32)
    threads = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]  # numba sets it at run time
    if threads == 1:
        _serial(weight, rows, y)
    else:
        with ONE_AT_A_TIME:
            numba.set_num_threads(threads)
            _parallel(weight, rows, y)
    return torch.from_numpy(y.reshape(*inputs.shape[:-1], len(weight)))


def _product(weight, x, y):  # type: ignore[no-untyped-def]  # numba infers its types
    for o in numba.prange(weight.shape[0]):
        for n in range(x.shape[0]):
            total = np.float32(0)
            for i in range(weight.shape[1]):
                bits = np.int32(np.int32(np.int32(weight[o, i]) << np.int32(13)) & BIT_MASK)
                total += bits.view(np.float32) * x[n, i]
            y[n, o] = total * EXPONENT_SCALE


_serial = numba.njit(SIGNATURE, **OPTIONS)(
    _product
)  # compiled at import and cached on disk, so that a reply does not wait for it
_parallel = numba.njit(SIGNATURE, parallel=True, **OPTIONS)(_product)
