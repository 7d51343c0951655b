"""A checkpoint as a folder of parts, each pinned by its SHA-256: the format of the weights in the repository.

`index.json` has the configuration and the names of the parts: safetensors files, each of one network, small enough for any git
host. A retrained network changes its own parts only. `reference_model.train.release.package_weights` writes this format.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from torch import Tensor

from fobench import outside_files
from fobench.atomic_files import is_file_name, write_text
from fobench.errors import FobenchError, PrerequisiteError
from reference_model.checkpoint import safetensors_io, tensor_checks

INDEX = "index.json"
PART_BYTES = 8_000_000  # maximum size of a part's tensors, unless a single tensor is larger
AGAIN = "Install fobench again, or restore the file from the repository."


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder with a checkpoint in parts."""
    return (path / INDEX).is_file()


def load(folder: Path, *, device: torch.device | str = "cpu") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(configuration, tensors on `device`) of a folder that `save` wrote.

    Raises PrerequisiteError for a missing part; FobenchError for one whose size or SHA-256 differs from its pin.
    """
    index = read(folder)
    tensors: dict[str, Tensor] = {}
    for pin in index["parts"]:
        try:
            part = from_bytes(_content(folder / pin["name"], pin))
        except SafetensorError as error:
            raise FobenchError(f"{folder / pin['name']} is not a safetensors file ({error}). {AGAIN}") from error
        if twice := sorted(part.keys() & tensors.keys()):
            raise FobenchError(f"{folder / pin['name']} {tensor_checks.named('repeats', twice)}. {AGAIN}")
        tensors.update({key: value.to(device) for key, value in part.items()})
    return index["config"], tensors


def read(folder: Path) -> dict[str, Any]:
    """The index: {"config": {...}, "parts": [{"name", "size", "sha256"}]}. Raises FobenchError if it is not valid."""
    path = folder / INDEX
    try:
        index = outside_files.read_json(path)
        pins = [(str(pin["name"]), int(pin["size"]), str(pin["sha256"])) for pin in index["parts"]]
        if not pins or not isinstance(index["config"], dict):
            raise ValueError("it names no parts, or holds no configuration")
        if strange := [name for name, _, _ in pins if not is_file_name(name)]:
            raise ValueError(f"{strange[0]!r} is not the name of a file in this folder")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FobenchError(f"{path} is not the index of a checkpoint ({error}). {AGAIN}") from error
    return dict(index)


def digest(folder: Path) -> str:
    """SHA-256 of the index, which pins all parts."""
    return hashlib.sha256((folder / INDEX).read_bytes()).hexdigest()


def _content(path: Path, pin: Mapping[str, Any]) -> bytes:
    if not path.is_file():
        raise PrerequisiteError(f"The checkpoint's part {path} is missing. {AGAIN}")
    content = path.read_bytes()
    if len(content) != pin["size"]:
        raise FobenchError(f"{path} has {len(content):,} bytes, not the {pin['size']:,} of its pin. {AGAIN}")
    if (found := hashlib.sha256(content).hexdigest()) != pin["sha256"]:
        raise FobenchError(
            f"{path} is not what was pinned: SHA-256 {found[:12]}..., not {pin['sha256'][:12]}... {AGAIN}"
        )
    return content


def save(config: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path) -> int:
    """Write the parts, then the index; earlier parts are removed, other files are kept. Returns the total size in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX).unlink(missing_ok=True)  # an interrupted write leaves no index, never a mixture of weights
    for old in folder.glob("*.safetensors"):
        old.unlink()
    pins: list[dict[str, Any]] = []
    for name, group in _groups(tensors):
        safetensors_io.save_tensors(group, {}, folder / name)
        (folder / name).chmod(0o644)  # safetensors creates files that only their owner can read
        content = (folder / name).read_bytes()
        pins.append({"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    text = json.dumps({"config": config, "parts": pins}, indent=1) + "\n"
    write_text(folder / INDEX, text)
    return sum(pin["size"] for pin in pins) + len(text)


def _groups(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """(file name, tensors) of each part; each network begins a new part."""
    networks: dict[str, list[dict[str, Tensor]]] = {}
    for key, value in tensors.items():
        parts = networks.setdefault(key.partition(".")[0], [{}])
        if parts[-1] and bytes_of({**parts[-1], key: value}) > PART_BYTES:
            parts.append({})
        parts[-1][key] = value
    for network, parts in networks.items():
        for number, part in enumerate(parts, 1):
            yield f"{network}-{number}.safetensors", part


def bytes_of(tensors: Mapping[str, Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in tensors.values())
