"""Weights of an earlier training for one that begins: part by part, each of the configuration that is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fobench.errors import FobenchError
from reference_model.checkpoint import safetensors_io, sharded
from reference_model.train.engine import checkpoints


@dataclass(frozen=True, slots=True)
class PretrainedWeights:
    """A stage's checkpoint, or a whole model's."""

    path: Path
    config: dict[str, Any]
    tensors: dict[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> PretrainedWeights:
        """A file, the newest checkpoint in the folder of a training, or a checkpoint in parts, as they ship.

        How a spelling adapter is read (its beam) is no matter of training, and is left out. FobenchError or PrerequisiteError
        where there is none.
        """
        if sharded.is_folder(path):
            return cls(path, *_unread(*sharded.load(path)))
        file = checkpoints.newest(path) / checkpoints.MODEL if path.is_dir() else path
        return cls(file, *_unread(*safetensors_io.load(file)))

    def about(self, name: str) -> dict[str, Any] | None:
        """The configuration of a part as its own dataclass has it; None where the checkpoint has no such part."""
        found = self.config.get(name)
        return {k: v for k, v in found.items() if k != "kind"} if isinstance(found, Mapping) else None

    def give(self, module: nn.Module, name: str, config: Any) -> None:
        """Fills a part, whose `config` is a dataclass, from the part of that name. FobenchError naming what differs."""
        about = self.about(name)
        if about is None:
            raise FobenchError(f"{self.path} has no {name}. It is of {', '.join(sorted(self.config)) or 'nothing'}.")
        if differing := checkpoints.differences(about, json.loads(json.dumps(asdict(config))), f"{name}."):
            raise FobenchError(
                f"{self.path} is of another configuration ({'; '.join(differing)}). Choose another --init, or --config."
            )
        self.fill(module, name)

    def check_backbone(self, name: str) -> None:
        """FobenchError where it learnt through another LLM than the backbone `name`; of some it is not known."""
        made = self.config.get("backbone")
        if made and made != name:
            raise FobenchError(
                f"{self.path} was trained for backbone {made!r}, not {name!r}. Choose another --init, or --backbone {made}."
            )

    def fill(self, module: nn.Module, name: str) -> bool:
        """Fills a part by its tensors' names within it, strictly; False where the checkpoint has none of them."""
        found = safetensors_io.part(self.tensors, name)
        if found:
            safetensors_io.fill(module, found, f"{self.path} ({name})")
        return bool(found)


def _unread(config: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Without what only serves to read an adapter's output."""
    adapter = {key: value for key, value in (config.get("adapter") or {}).items() if key != "beam"}
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("adapter.lm_")}
    return ({**config, "adapter": adapter} if adapter else config), kept
