"""G.711: the 8-bit codes of telephony, mu-law and A-law (ITU-T G.711, 1988), sample by sample without state."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from fobench.api.types import Samples

Codes = npt.NDArray[np.uint8]
Law = str  # "ulaw" or "alaw"
BIAS = 33  # of mu-law, in its 14-bit scale


def encode(samples: Samples, law: Law) -> bytes:
    """float32 [T] in [-1, 1] -> T bytes: for each sample the code whose value is nearest."""
    codes, borders = _quantizer(law)
    nearest = codes[np.searchsorted(borders, np.clip(samples, -1.0, 1.0))]
    return nearest.astype(np.uint8).tobytes()


def decode(data: bytes, law: Law) -> Samples:
    """T bytes -> float32 [T] in [-1, 1)."""
    return table(law)[np.frombuffer(data, np.uint8)]


@functools.cache
def table(law: Law) -> Samples:
    """The value of each of the 256 codes, float32 in [-1, 1)."""
    code = np.arange(256)
    if law == "ulaw":
        bits = ~code & 0xFF
        exponent, mantissa = (bits >> 4) & 7, bits & 15
        magnitude = (((mantissa << 1) + BIAS) << exponent) - BIAS  # 14 bits
        return (np.where(bits & 0x80, -magnitude, magnitude) / 8192.0).astype(np.float32)
    if law != "alaw":
        raise ValueError(f"G.711 has the laws ulaw and alaw, not {law!r}")
    bits = code ^ 0x55
    exponent, mantissa = (bits >> 4) & 7, bits & 15
    first = (mantissa << 1) + 1
    magnitude = np.where(exponent == 0, first, (first + 32) << np.maximum(exponent - 1, 0))  # 13 bits
    return (np.where(bits & 0x80, magnitude, -magnitude) / 4096.0).astype(np.float32)


@functools.cache
def _quantizer(law: Law) -> tuple[Codes, Samples]:
    """(the codes in the order of their values, the borders between neighbors). Of mu-law's two zeros the positive one is used."""
    values = table(law)
    order = np.argsort(values, kind="stable")
    if law == "ulaw":
        order = order[order != 0x7F]  # the negative zero
    ordered = values[order]
    borders: Samples = ((ordered[1:].astype(np.float64) + ordered[:-1]) / 2).astype(np.float32)
    return order.astype(np.uint8), borders
