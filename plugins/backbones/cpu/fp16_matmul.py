"""Products with a matrix held in float16, for CPUs that multiply only float32: weights are widened as they are read.

torch multiplies half-width matrices on such a CPU at half the speed of its memory; this loop reaches it, and is float32
throughout. float16, not bfloat16: what was 4 bits times a float16 scale is rounded 8 times finer, and bfloat16 weights fit.
"""

from __future__ import annotations

import threading

import numba
import numpy as np
import numpy.typing as npt
import torch

ONE_AT_A_TIME = threading.Lock()  # numba's threads take one parallel loop at a time
SIGNATURE = "void(int16[:, ::1], float32[:, ::1], float32[:, ::1])"
OPTIONS = {"fastmath": True, "nogil": True, "cache": True, "error_model": "numpy"}
LIFT = np.float32(2.0**56)  # twice: from where float16's bits lie in a float32 to their value; exact, subnormals too
KEPT = np.int32(-0x70002000)  # 0x8fffe000: the sign, and exponent and mantissa, moved up
EXPONENT = 0x7C00  # of float16; all its bits are set in what is not finite

Halves = npt.NDArray[np.int16]  # [out, in]: the bits of float16


def halves(weight: torch.Tensor) -> Halves | None:
    """[out, in] -> its bits in float16, as `multiply` reads them; None if a weight is too large for that."""
    rounded = weight.to(torch.float16).view(torch.int16)
    bits: Halves = rounded.numpy()
    return bits if (rounded & EXPONENT).max() < EXPONENT else None  # torch's isfinite takes 7 times as long in float16


def multiply(weight: Halves, x: torch.Tensor) -> torch.Tensor:
    """[out, in] float16 times x [..., in] float32 -> [..., out] float32, with as many threads as torch has.

    Called 120 times a token: the small steps around the loop take numpy less than half of torch's time.
    """
    given = x.numpy()
    rows = given.reshape(-1, given.shape[-1]) * LIFT
    y = np.empty((len(rows), len(weight)), np.float32)
    threads = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
    if threads == 1:
        _serial(weight, rows, y)
    else:
        with ONE_AT_A_TIME:
            numba.set_num_threads(threads)
            _parallel(weight, rows, y)
    return torch.from_numpy(y.reshape(*given.shape[:-1], len(weight)))


def _product(weight, x, y):  # type: ignore[no-untyped-def]
    for o in numba.prange(weight.shape[0]):
        for n in range(x.shape[0]):
            total = np.float32(0)
            for i in range(weight.shape[1]):
                bits = np.int32(np.int32(np.int32(weight[o, i]) << np.int32(13)) & KEPT)
                total += bits.view(np.float32) * x[n, i]
            y[n, o] = total * LIFT


_serial = numba.njit(SIGNATURE, **OPTIONS)(_product)  # compiled here, once a machine: a reply should not wait for it
_parallel = numba.njit(SIGNATURE, parallel=True, **OPTIONS)(_product)
