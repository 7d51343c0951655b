"""Checkpoints in the folder of a training run: `step-N/` with the module and the trainer state for an exact resume,
written atomically.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fobench.errors import FobenchError
from reference_model.checkpoint import safetensors_io
from reference_model.train.engine import trainer_state
from reference_model.train.engine.training_log import unwritable

MODEL, TRAINER = "model.safetensors", "trainer.safetensors"
OLD_TRAINER = "trainer.pt"  # of earlier versions
CHECKPOINTS_KEPT = 2
MAX_VALUE_CHARS = 40  # characters of a value in an error message


def checkpoints(folder: Path) -> list[Path]:
    """Returns the complete checkpoints in `folder`, newest last."""
    return sorted({path.parent for name in (TRAINER, OLD_TRAINER) for path in folder.glob(f"step-*/{name}")})


def newest_checkpoint(folder: Path) -> Path:
    """Returns the newest checkpoint in `folder`. Raises FobenchError naming the folder if there is none."""
    if found := checkpoints(folder):
        return found[-1]
    raise FobenchError(f"{folder} holds no checkpoint of a stage. Give the --out folder of a training run.")


def write(module: nn.Module, config: Mapping[str, Any], state: Mapping[str, Any], folder: Path, step: int) -> None:
    """Writes the checkpoint of a step atomically and removes all but the newest.

    Raises FobenchError if the folder cannot be written; the older checkpoints are then kept.
    """
    partial, target = folder / f".step-{step:07d}.{os.getpid()}", folder / f"step-{step:07d}"
    try:
        partial.mkdir(parents=True, exist_ok=True)
        safetensors_io.save(module, config, partial / MODEL)
        trainer_state.write(state, partial / TRAINER)
        shutil.rmtree(target, ignore_errors=True)
        partial.replace(target)
    except (OSError, FobenchError) as error:
        raise FobenchError(unwritable(folder, error.__context__ or error)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for old in checkpoints(folder)[:-CHECKPOINTS_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def read(module: nn.Module, config: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """Loads the newest checkpoint into `module` and returns the trainer state, or None if there is no checkpoint.

    Raises FobenchError naming the differences if the checkpoint has another configuration.
    """
    found = checkpoints(folder)
    if not found:
        return None
    saved, tensors = safetensors_io.load(found[-1] / MODEL)
    if differing := differences(saved, json.loads(json.dumps(config))):
        raise FobenchError(
            f"{folder} holds a training run of another configuration ({'; '.join(differing)}). "
            "Choose another folder, or remove it."
        )
    safetensors_io.fill(module, tensors, found[-1])
    path = found[-1] / TRAINER
    return trainer_state.read(path) if path.is_file() else trainer_state.read_pickled(found[-1] / OLD_TRAINER)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Returns the values of nested plain data that differ, e.g. ["encoder.layers: 6, now 4"]."""
    found = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key}: {_abbreviate(before)}, now {_abbreviate(after)}")
    return found


def random_state() -> dict[str, Any]:
    """Returns the states of the random generators of Python, NumPy, torch and CUDA."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state(), "cuda": cuda}


def set_random_state(state: Mapping[str, Any]) -> None:
    """Raises FobenchError if the states are not those of these generators."""
    try:
        _set_random_state(state)
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise FobenchError(f"The checkpoint's random state cannot be restored: {error}. Remove its folder.") from error


def _set_random_state(state: Mapping[str, Any]) -> None:
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.asarray(keys).astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _abbreviate(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}..."
