"""The numbers of the published implementation (tests/golden, described in its README.md)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

FOLDER = Path(__file__).parents[1] / "golden"


@cache
def golden(name: str) -> dict[str, torch.Tensor]:
    """Every tensor of a golden file by its name (`w/...`, `in/...`, `out/...`)."""
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


@cache
def meta(name: str) -> dict[str, Any]:
    """The configuration that a golden file was computed with."""
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        return json.loads((file.metadata() or {}).get("meta", "{}"))


def weights(name: str, prefix: str) -> dict[str, torch.Tensor]:
    """The weights under `w/<prefix>`, by the rest of their names."""
    start = f"w/{prefix}"
    return {key.removeprefix(start): value for key, value in golden(name).items() if key.startswith(start)}
