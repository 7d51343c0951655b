"""Weights of the published sizes, computed by the rule in golden/full_formula_weights.json: exact in float32."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

FILE = Path(__file__).parents[1] / "golden" / "full_formula_weights.json"
BLOCK = 2**18  # numbers at once: their 64-bit hashes stay in the processor's cache


@cache
def rule() -> dict[str, Any]:
    return json.loads(FILE.read_text())


def formula_weights(prefix: str) -> dict[str, torch.Tensor]:
    """Every tensor whose name begins with the prefix, by the rest of its name; those copied from an input are left out."""
    tensors = {key: entry for key, entry in rule()["tensors"].items() if key.startswith(prefix) and "from" not in entry}
    return {key.removeprefix(prefix): _tensor(key, entry) for key, entry in tensors.items()}


def _tensor(name: str, entry: dict[str, Any]) -> torch.Tensor:
    if "constant" in entry:
        return torch.full(entry["shape"], entry["constant"], dtype=getattr(torch, entry["dtype"]))
    made = np.empty(int(np.prod(entry["shape"])), np.float32)
    seed, scale, offset = _hash(name), np.float32(entry["scale"]), np.float32(entry["offset"])
    for at in range(0, len(made), BLOCK):
        uniform = _uniform(seed, at, min(BLOCK, len(made) - at))
        made[at : at + len(uniform)] = uniform * scale + offset
    return torch.from_numpy(made).reshape(entry["shape"])


def _hash(name: str) -> np.uint64:
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return np.uint64(value)


def _uniform(seed: np.uint64, first: int, count: int) -> np.ndarray:
    """Numbers `first` and on of the sequence (splitmix64), in [-0.5, 0.5)."""
    z = np.arange(first + 1, first + count + 1, dtype=np.uint64)
    z *= np.uint64(0x9E3779B97F4A7C15)
    z += seed
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2**-24) - np.float32(0.5)
