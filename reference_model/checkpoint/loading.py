"""Loads a model: from our own checkpoints, of one file or in parts, from the published three files, or with random weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fobench.errors import FobenchError, PrerequisiteError
from reference_model.checkpoint import safetensors_io, sharded
from reference_model.config import ModelConfig
from reference_model.model import FreezeOmni

UNTRAINED = "untrained:"
PUBLISHED_FOR = "qwen2-7b"
ANY = "any"  # stands for the backbone of a checkpoint that fits every LLM


def load(path: Path, *, device: torch.device | str) -> FreezeOmni:
    """The model at `path`, in evaluation mode on `device`.

    A .safetensors file or a folder of parts is our own, any other folder has the published three files, `untrained:NAME` has
    random weights with a fixed seed. Raises PrerequisiteError for a missing file, FobenchError for weights that do not fit.
    """
    if str(path).startswith(UNTRAINED):
        return untrained(str(path).removeprefix(UNTRAINED)).to(device).eval()
    if path.is_dir() and not sharded.is_folder(path):
        from reference_model.checkpoint.published.loader import load as load_published

        return load_published(path).to(device).eval()
    data, tensors = _own(path, device)
    model = FreezeOmni(ModelConfig.from_json(data, str(path))).to(device)
    safetensors_io.fill(model, tensors, path)
    return model.eval()


def _own(path: Path, device: torch.device | str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(configuration, tensors) of one of our own checkpoints."""
    _check_exists(path)
    return (sharded if path.is_dir() else safetensors_io).load(path, device=device)


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise PrerequisiteError(
            f"There is no checkpoint {path}. Give a .safetensors file, a folder with the published files, or a name that "
            "`fobench ls checkpoints` lists."
        )


def made_for(path: Path) -> str:
    """The backbone that a checkpoint was trained for; `ANY` if it fits every LLM, "" if it names none but fits one size only.

    Raises PrerequisiteError for a missing checkpoint.
    """
    if path.is_dir() and not sharded.is_folder(path):
        return PUBLISHED_FOR
    if str(path).startswith(UNTRAINED):
        data: Mapping[str, Any] = ModelConfig.load(str(path).removeprefix(UNTRAINED)).to_json()
    elif path.is_dir():
        data = sharded.read(path)["config"]
    else:
        _check_exists(path)
        data = safetensors_io.load(path)[0]
    return str(data.get("backbone") or (ANY if data.get("llm_size") == 0 else ""))


def digest(path: Path) -> str:
    """SHA-256 of one of our own checkpoints, "" for others. It identifies the weights in run.json."""
    if sharded.is_folder(path):
        return sharded.digest(path)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def save(model: FreezeOmni, path: Path, *, storage: safetensors_io.Storage | None = "float16") -> None:
    """Write a model with its configuration."""
    safetensors_io.save(model, model.config.to_json(), path, storage=storage)


@torch.no_grad()
def untrained(name: str) -> FreezeOmni:
    """A model with random weights, by a fixed seed: float16 numbers, as those of saved models, so that it has their speed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = FreezeOmni(ModelConfig.load(name))
    for parameter in model.parameters():
        parameter.copy_(parameter.half())
    return model


def check_backbone(model: FreezeOmni, name: str, hidden_size: int, *, trained: bool = True) -> None:
    """Raises FobenchError for a backbone of another hidden size or, with a trained model, of another name.

    A model of llm_size 0 fits every backbone.
    """
    config = model.config
    if not config.llm_size:
        return
    comparable = trained and config.backbone and ":" not in name  # hf: and gguf: names may be the same LLM
    other = comparable and name != config.backbone
    if hidden_size != config.llm_size or other:
        backbone = config.backbone or f"one of hidden size {config.llm_size}"
        raise FobenchError(
            f"Checkpoint {config.name!r} was made for backbone {backbone} (hidden size {config.llm_size}); "
            f"{name!r} has {hidden_size}. Choose another --backbone, or a checkpoint for {name}."
        )
