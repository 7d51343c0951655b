"""The numbers of the published implementation (tests/golden, described in its README.md)."""

from __future__ import annotations

import json
import lzma
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load

FOLDER = Path(__file__).parents[1] / "golden"


@cache
def _file(name: str) -> bytes:
    """A golden file, which is kept compressed, as safetensors lays it out."""
    return lzma.decompress((FOLDER / f"{name}.safetensors.xz").read_bytes())


@cache
def golden(name: str) -> dict[str, torch.Tensor]:
    """Every tensor of a golden file by its name (`w/...`, `in/...`, `out/...`)."""
    return load(_file(name))


@cache
def meta(name: str) -> dict[str, Any]:
    """The configuration that a golden file was computed with."""
    file = _file(name)
    header = json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])
    return json.loads(header.get("__metadata__", {}).get("meta", "{}"))


def weights(name: str, prefix: str) -> dict[str, torch.Tensor]:
    """The weights under `w/<prefix>`, by the rest of their names."""
    start = f"w/{prefix}"
    return {key.removeprefix(start): value for key, value in golden(name).items() if key.startswith(start)}
