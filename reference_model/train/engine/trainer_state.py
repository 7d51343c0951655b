"""The state of a training run beside its weights, as safetensors and JSON: optimizer, random generators, data position.

Numbers are kept to the bit, and reading executes no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fobench.assets import weight_files
from fobench.errors import FobenchError
from reference_model.checkpoint import safetensors_io, tensor_checks

FORMAT = 1
TENSOR, TUPLE, INTEGER_KEYS = "<tensor>", "<tuple>", "<integers>"  # keys of objects that stand for what JSON lacks


def write(state: Mapping[str, Any], path: Path) -> None:
    """Writes nested plain data with tensors and NumPy arrays. Raises FobenchError if the file cannot be written."""
    tensors: dict[str, Tensor] = {}
    plain = _encode(dict(state), tensors)
    safetensors_io.save_tensors(tensors, {"format": FORMAT, "state": plain}, path)


def read(path: Path) -> dict[str, Any]:
    """What `write` wrote; NumPy arrays come back as tensors. Raises FobenchError for a broken file."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            data = json.loads((file.metadata() or {})["config"])
        if data["format"] != FORMAT:
            raise ValueError(f"its format is {data['format']!r}, not {FORMAT}")
        state: dict[str, Any] = _decode(data["state"], tensors)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = weight_files.defect(path) if path.is_file() else None
        raise FobenchError(
            f"{path} cannot be read ({reason or error}), so the training cannot continue from this checkpoint. "
            "Remove its folder to continue from the one before."
        ) from error
    return state


def read_pickled(path: Path) -> dict[str, Any]:
    """The state in a `trainer.pt` of an earlier version, read as tensors, arrays and plain data alone.

    Raises FobenchError for anything else, which is not executed.
    """
    array_types: list[Any] = [np.array(0).__reduce__()[0], np.ndarray, np.dtype, type(np.dtype(np.uint32))]
    try:
        with torch.serialization.safe_globals(array_types):
            state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError(f"it holds a {type(state).__name__}")
    except Exception as error:  # torch raises many types for invalid files
        raise FobenchError(
            f"{path} is of an earlier version and cannot be converted: {str(error).partition(chr(10))[0]}. Continue from "
            "its model.safetensors with --init, or start a new training run."
        ) from error
    return state


def check_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any], source: Path) -> None:
    """Raises FobenchError if an optimizer's saved state does not fit its parameters."""
    groups, saved = optimizer.param_groups, state.get("param_groups") or []
    if [len(group["params"]) for group in groups] != [len(group["params"]) for group in saved]:
        raise FobenchError(
            f"{source} holds an optimizer of other parameter groups. Choose another folder, or remove it."
        )
    parameters = [parameter for group in groups for parameter in group["params"]]
    numbers = [number for group in saved for number in group["params"]]
    needed = dict(zip(numbers, parameters, strict=True))
    moments = {
        (number, name): value
        for number, entries in state["state"].items()
        for name, value in entries.items()
        if isinstance(value, Tensor) and value.dim()
    }
    shapes = {
        f"{name} of parameter {number}": (value.shape, needed[number].shape)
        for (number, name), value in moments.items()
        if number in needed and value.shape != needed[number].shape
    }
    unexpected = [f"parameter {number}" for number in state["state"] if number not in needed]
    finite = tensor_checks.not_finite((f"{name} of parameter {number}", v) for (number, name), v in moments.items())
    if problem := tensor_checks.misfit((), unexpected, shapes, (finite,)):
        raise FobenchError(f"{source} does not fit the optimizer: it {problem}. Choose another folder, or remove it.")


def _encode(value: Any, tensors: dict[str, Tensor]) -> Any:
    """`value` as data for JSON; its tensors and arrays go to `tensors`."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value.astype(np.int64) if value.dtype.kind == "u" else value)
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().to("cpu", copy=True)
        return {TENSOR: name}
    if isinstance(value, Mapping):
        items = {str(key): _encode(one, tensors) for key, one in value.items()}
        return {INTEGER_KEYS: items} if value and all(isinstance(key, int) for key in value) else items
    if isinstance(value, tuple):
        return {TUPLE: [_encode(one, tensors) for one in value]}
    return [_encode(one, tensors) for one in value] if isinstance(value, list) else value


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `_encode`."""
    if isinstance(value, list):
        return [_decode(one, tensors) for one in value]
    if not isinstance(value, dict):
        return value
    if TENSOR in value:
        return tensors[value[TENSOR]]
    if TUPLE in value:
        return tuple(_decode(one, tensors) for one in value[TUPLE])
    if INTEGER_KEYS in value:
        return {int(key): _decode(one, tensors) for key, one in value[INTEGER_KEYS].items()}
    return {key: _decode(one, tensors) for key, one in value.items()}
