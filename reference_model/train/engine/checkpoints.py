"""Checkpoints of a training in its folder: `step-N/` with the module and all that going on exactly needs; whole or absent."""

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
from reference_model.train.engine.training_log import unwritable

MODEL, TRAINER = "model.safetensors", "trainer.pt"
KEPT = 2  # checkpoints
SHOWN = 40  # characters of a value that an error tells


def checkpoints(folder: Path) -> list[Path]:
    """The complete ones, the newest last."""
    return sorted(path.parent for path in folder.glob(f"step-*/{TRAINER}"))


def newest(folder: Path) -> Path:
    """The newest checkpoint. FobenchError naming the folder where there is none."""
    if found := checkpoints(folder):
        return found[-1]
    raise FobenchError(f"{folder} holds no checkpoint of a stage. Give the --out folder of a training.")


def write(module: nn.Module, config: Mapping[str, Any], state: Mapping[str, Any], folder: Path, step: int) -> None:
    """Writes the checkpoint of a step, and forgets all but the newest. FobenchError where it cannot; the older ones stay."""
    partial, target = folder / f".step-{step:07d}.{os.getpid()}", folder / f"step-{step:07d}"
    try:
        partial.mkdir(parents=True, exist_ok=True)
        safetensors_io.save(module, config, partial / MODEL)
        with (partial / TRAINER).open("wb") as file:  # ours, so that a full disk is an OSError
            torch.save(dict(state), file)
        shutil.rmtree(target, ignore_errors=True)
        partial.replace(target)
    except (OSError, RuntimeError, FobenchError) as error:  # torch's writer wraps the disk's error in a RuntimeError
        raise FobenchError(unwritable(folder, error.__context__ or error)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for old in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def read(module: nn.Module, config: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """Fills the module from the newest checkpoint and returns its state; None if there is none.

    Raises FobenchError naming what differs for a checkpoint of another configuration.
    """
    found = checkpoints(folder)
    if not found:
        return None
    saved, tensors = safetensors_io.load(found[-1] / MODEL)
    if differing := differences(saved, json.loads(json.dumps(config))):
        raise FobenchError(
            f"{folder} holds a training of another configuration ({'; '.join(differing)}). "
            "Choose another folder, or remove it."
        )
    safetensors_io.fill(module, tensors, found[-1])
    state: dict[str, Any] = torch.load(found[-1] / TRAINER, weights_only=False)
    return state


def differences(old: Mapping[str, Any], new: Mapping[str, Any], within: str = "") -> list[str]:
    """E.g. "encoder.layers: 6, now 4" for every value of nested plain data that is not the same in both."""
    found = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{within}{key}.")
        elif before != after:
            found.append(f"{within}{key}: {_shown(before)}, now {_shown(after)}")
    return found


def random_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state(), "cuda": cuda}


def set_random_state(state: Mapping[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
