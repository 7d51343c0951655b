"""A checkpoint in a folder of parts, each pinned by its SHA-256: the form in which weights lie in the repository.

`index.json` holds the configuration and names the parts: files of safetensors, of one net each, small enough for any git host. A
net trained anew changes its own parts only. `reference_model.train.release.package_weights` puts a checkpoint into this form.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as from_bytes
from torch import Tensor

from fobench.errors import FobenchError, PrerequisiteError
from reference_model.checkpoint import safetensors_io

INDEX = "index.json"
PART_BYTES = 8_000_000  # of tensors in a part, unless one tensor alone has more
AGAIN = "Install fobench again, or restore the file from the repository."


def is_folder(path: Path) -> bool:
    """Whether `path` holds a checkpoint in parts."""
    return (path / INDEX).is_file()


def load(folder: Path, *, device: torch.device | str = "cpu") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(configuration, tensors on `device`) of a folder that `save` wrote.

    Raises PrerequisiteError for a part that is missing; FobenchError for one that is cut short or is not what was pinned.
    """
    index = read(folder)
    tensors: dict[str, Tensor] = {}
    for pin in index["parts"]:
        part = from_bytes(_content(folder / pin["name"], pin))
        tensors.update({key: value.to(device) for key, value in part.items()})
    return index["config"], tensors


def read(folder: Path) -> dict[str, Any]:
    """The index: {"config": {...}, "parts": [{"name", "size", "sha256"}]}. Raises FobenchError where it is none."""
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        pins = [(str(pin["name"]), int(pin["size"]), str(pin["sha256"])) for pin in index["parts"]]
        if not pins or not isinstance(index["config"], dict):
            raise ValueError("it names no parts, or holds no configuration")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FobenchError(f"{path} is not the index of a checkpoint ({error}). {AGAIN}") from error
    return dict(index)


def digest(folder: Path) -> str:
    """SHA-256 of the index, and so of all that it pins."""
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
    """Writes parts and, last, the index; earlier parts are removed, other files of the folder stay. Returns the bytes of all."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX).unlink(missing_ok=True)  # a kill leaves a folder without weights, never one with mixed ones
    for old in folder.glob("*.safetensors"):
        old.unlink()
    pins = []
    for name, group in _groups(tensors):
        safetensors_io.save_tensors(group, {}, folder / name)
        (folder / name).chmod(0o644)  # safetensors makes files for their owner alone; a package is for everybody
        content = (folder / name).read_bytes()
        pins.append({"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    text = json.dumps({"config": config, "parts": pins}, indent=1) + "\n"
    (folder / INDEX).write_text(text, encoding="utf-8")
    return sum(pin["size"] for pin in pins) + len(text)


def _groups(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """(file name, tensors) of each part; a net begins a part of its own."""
    nets: dict[str, list[dict[str, Tensor]]] = {}
    for key, value in tensors.items():
        parts = nets.setdefault(key.partition(".")[0], [{}])
        if parts[-1] and bytes_of({**parts[-1], key: value}) > PART_BYTES:
            parts.append({})
        parts[-1][key] = value
    for net, parts in nets.items():
        for number, part in enumerate(parts, 1):
            yield f"{net}-{number}.safetensors", part


def bytes_of(tensors: Mapping[str, Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in tensors.values())
