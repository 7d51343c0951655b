"""From a checkpoint to a model: our own files, the published three, or random weights for measuring speed."""

from __future__ import annotations

from pathlib import Path

import torch

from fobench.errors import FobenchError, PrerequisiteError
from reference_model import weights
from reference_model.config import ModelConfig
from reference_model.model import FreezeOmni

UNTRAINED = "untrained:"


def load(path: Path, *, device: torch.device | str) -> FreezeOmni:
    """The model at `path`, in evaluation mode on `device`.

    A .safetensors file is ours, a folder holds the published three files, `untrained:NAME` is random with a fixed seed.
    Raises PrerequisiteError for a missing file, FobenchError for weights that do not fit.
    """
    if str(path).startswith(UNTRAINED):
        return untrained(str(path).removeprefix(UNTRAINED)).to(device).eval()
    if path.is_dir():
        from reference_model.published.files import load as load_published

        return load_published(path).to(device).eval()
    if not path.exists():
        raise PrerequisiteError(
            f"There is no checkpoint {path}. Give a .safetensors file, a folder with the published files, or a name that "
            "`fobench ls checkpoints` lists."
        )
    data, tensors = weights.load(path, device=device)
    model = FreezeOmni(ModelConfig.from_json(data, str(path))).to(device)
    weights.fill(model, tensors, path)
    return model.eval()


def save(model: FreezeOmni, path: Path, *, storage: weights.Storage | None = "float16") -> None:
    """Writes a model with its configuration."""
    weights.save(model, model.config.to_json(), path, storage=storage)


def untrained(name: str) -> FreezeOmni:
    """A model with random weights, the same ones each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FreezeOmni(ModelConfig.load(name))


def check_backbone(model: FreezeOmni, name: str, hidden_size: int) -> None:
    """Refuses a backbone that the model was not made for."""
    config = model.config
    if hidden_size != config.llm_size:
        made_for = config.backbone or f"one of hidden size {config.llm_size}"
        raise FobenchError(
            f"Checkpoint {config.name!r} was made for backbone {made_for} (hidden size {config.llm_size}); "
            f"{name!r} has {hidden_size}. Choose another --backbone, or a checkpoint for {name}."
        )
