"""Products with a matrix held in bfloat16, for CPUs that lack instructions for it: weights are widened as they are read.

torch multiplies bfloat16 matrices on such a CPU at half the speed of its memory; this loop reaches it, in float32 throughout.
"""

from __future__ import annotations

import threading

import numba
import numpy as np
import numpy.typing as npt
import torch

ONE_AT_A_TIME = threading.Lock()  # numba's threads take one parallel loop at a time
SIGNATURE = "void(uint16[:, ::1], float32[:, ::1], float32[:, ::1])"
OPTIONS = {"fastmath": True, "nogil": True, "cache": True, "error_model": "numpy"}

Halves = npt.NDArray[np.uint16]  # [out, in]: the upper halves of float32


def halves(weight: torch.Tensor) -> Halves:
    """[out, in] -> the same in bfloat16, as the bits that `multiply` reads."""
    rounded: Halves = weight.to(torch.bfloat16).view(torch.uint16).numpy()
    return rounded


def multiply(weight: Halves, x: torch.Tensor) -> torch.Tensor:
    """[out, in] bfloat16 times rows x [N, in] float32 -> [N, out] float32, with as many threads as torch has."""
    y = torch.empty(len(x), len(weight))
    threads = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
    if threads == 1:
        _serial(weight, x.contiguous().numpy(), y.numpy())
        return y
    with ONE_AT_A_TIME:
        numba.set_num_threads(threads)
        _parallel(weight, x.contiguous().numpy(), y.numpy())
    return y


def _product(weight, x, y):  # type: ignore[no-untyped-def]
    for o in numba.prange(weight.shape[0]):
        for n in range(x.shape[0]):
            total = np.float32(0)
            for i in range(weight.shape[1]):
                bits = np.uint32(np.uint32(weight[o, i]) << np.uint32(16))
                total += bits.view(np.float32) * x[n, i]
            y[n, o] = total


_serial = numba.njit(SIGNATURE, **OPTIONS)(_product)  # compiled here, once a machine: a reply should not wait for it
_parallel = numba.njit(SIGNATURE, parallel=True, **OPTIONS)(_product)
