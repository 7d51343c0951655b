"""Checkpoints: one safetensors file per model, with the configuration as JSON under "config" in the metadata."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fobench import outside_files
from fobench.assets import weight_files
from fobench.atomic_files import atomic_path
from fobench.errors import FobenchError, PrerequisiteError
from reference_model.checkpoint import tensor_checks

Storage = Literal["float32", "float16", "bfloat16"]


def save(module: nn.Module, config: Mapping[str, Any], path: Path, *, storage: Storage | None = None) -> None:
    """Write the module's state dict and its configuration, atomically.

    `config`: plain data for JSON. `storage`: dtype in which floating-point tensors are stored (None: their own); integers and
    booleans are unchanged. Raises FobenchError if the file cannot be written.
    """
    tensors = {key: _stored(value, storage) for key, value in module.state_dict().items()}
    save_tensors(tensors, config, path)


def save_tensors(tensors: Mapping[str, Tensor], config: Mapping[str, Any], path: Path) -> None:
    """As `save`, for tensors without a module."""
    contiguous = {key: value.contiguous() for key, value in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            save_file(contiguous, temporary, {"config": json.dumps(config)})
    except (OSError, SafetensorError) as error:
        raise FobenchError(f"{path} cannot be written: {error}. Choose another path, or free disk space.") from error


def load(path: Path, *, device: torch.device | str = "cpu") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(configuration, tensors on `device`, in the stored dtype) of a file that `save` wrote.

    Raises PrerequisiteError for a missing file; FobenchError for one that is not safetensors or has no configuration.
    """
    with opened(path, device=device) as file:
        metadata = file.metadata() or {}
        found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    return _config(metadata, path), found


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, with or without a configuration. Raises as `load`."""
    with opened(path) as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


@contextlib.contextmanager
def opened(path: Path, *, device: torch.device | str = "cpu") -> Iterator[Any]:
    """The open file, as by `safetensors.safe_open`.

    Raises PrerequisiteError for a missing file; FobenchError for one that is not safetensors, or lacks a tensor that is read.
    """
    if not path.is_file():
        raise PrerequisiteError(f"There is no checkpoint {path}. Give the path of a .safetensors file.")
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            yield file
    except (SafetensorError, OSError) as error:
        fix = "It may be truncated or of another format: fetch or train it again."
        raise FobenchError(f"{path} is not a safetensors file ({weight_files.defect(path) or error}). {fix}") from error


def fill(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    source: object,
    *,
    unused: Iterable[str] = (),
    assign: bool = False,
) -> None:
    """Load every tensor into the module, strictly: each key is used, or begins with a prefix of `unused`.

    Values are cast to the module's dtype and device; with `assign` (for a module on the meta device) they are not.
    `source`: the file's name in errors. Raises FobenchError naming missing and unexpected keys, wrong shapes, integers in
    place of floating point, and tensors that hold NaN (parameters: or infinity).
    """
    skipped = tuple(unused)
    given = {key: value for key, value in tensors.items() if not key.startswith(skipped)} if skipped else dict(tensors)
    own, parameters = module.state_dict(), {name for name, _ in module.named_parameters(remove_duplicate=False)}
    shared = given.keys() & own.keys()
    buffers = [(key, value) for key, value in given.items() if key not in parameters]
    problem = tensor_checks.misfit(
        own.keys() - given.keys(),
        given.keys() - own.keys(),
        {key: (given[key].shape, own[key].shape) for key in shared if given[key].shape != own[key].shape},
        (
            tensor_checks.not_numbers(given, own),
            tensor_checks.not_finite((key, value) for key, value in given.items() if key in parameters),
            tensor_checks.not_finite(buffers, infinity=False),
        ),
    )
    if problem:
        raise FobenchError(
            f"{source} does not fit {type(module).__name__}: it {problem}. Is it of another configuration?"
        )
    module.load_state_dict(given, strict=True, assign=assign)


def _stored(value: Tensor, storage: Storage | None) -> Tensor:
    dtype = getattr(torch, storage) if storage and value.is_floating_point() else value.dtype
    return value.detach().to("cpu", dtype, copy=True)  # a copy, since safetensors refuses tensors that share memory


def _config(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    try:
        config = outside_files.parse_json(metadata["config"])
    except (KeyError, ValueError) as error:
        fix = 'Its metadata needs "config", as reference_model.checkpoint.safetensors_io.save writes it.'
        raise FobenchError(f"{path} holds no model configuration. {fix}") from error
    if not isinstance(config, dict):
        raise FobenchError(f"{path}: the configuration must be a JSON object, not {type(config).__name__}.")
    return config


def part(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """The tensors of one submodule, by their names within it."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
