"""Initial weights from an earlier training run, part by part, with a check of each part's configuration."""

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
    """The checkpoint of a stage or of a complete model."""

    path: Path
    config: dict[str, Any]
    tensors: dict[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> PretrainedWeights:
        """Returns the weights of a file, of the newest checkpoint in the folder of a training run, or of a sharded
        checkpoint.

        The beam-search settings and the language model of a CTC adapter are left out, since training does not use them.
        Raises FobenchError or PrerequisiteError if there is no checkpoint.
        """
        if sharded.is_folder(path):
            return cls(path, *_without_decoding(*sharded.load(path)))
        file = checkpoints.newest_checkpoint(path) / checkpoints.MODEL if path.is_dir() else path
        return cls(file, *_without_decoding(*safetensors_io.load(file)))

    def part_config(self, name: str) -> dict[str, Any] | None:
        """Returns the configuration of a part as the fields of its dataclass, or None if the checkpoint has no such
        part.
        """
        found = self.config.get(name)
        return {k: v for k, v in found.items() if k != "kind"} if isinstance(found, Mapping) else None

    def fill_checked(self, module: nn.Module, name: str, config: Any) -> None:
        """Loads the part `name` into `module`.

        Raises FobenchError if it is missing or differs from the dataclass `config`.
        """
        part = self.part_config(name)
        if part is None:
            raise FobenchError(f"{self.path} has no {name}. It has {', '.join(sorted(self.config)) or 'nothing'}.")
        if differing := checkpoints.differences(part, json.loads(json.dumps(asdict(config))), f"{name}."):
            raise FobenchError(
                f"{self.path} has another configuration ({'; '.join(differing)}). Choose another --init, or --config."
            )
        self.fill(module, name)

    def check_backbone(self, name: str) -> None:
        """Raises FobenchError if the weights were trained with another LLM than `name`; checkpoints without a backbone
        pass.
        """
        backbone = self.config.get("backbone")
        if backbone and backbone != name:
            raise FobenchError(
                f"{self.path} was trained for backbone {backbone!r}, not {name!r}. "
                f"Choose another --init, or --backbone {backbone}."
            )

    def fill(self, module: nn.Module, name: str, *, optional: bool = False) -> None:
        """Loads the tensors of part `name` into `module`, strictly.

        With `optional`, a module of which the checkpoint has no tensor is left as it is.
        """
        tensors = safetensors_io.part(self.tensors, name)
        if tensors or not optional:
            safetensors_io.fill(module, tensors, f"{self.path} ({name})")


def _without_decoding(config: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Returns the checkpoint without beam-search settings and language model."""
    adapter = {key: value for key, value in (config.get("adapter") or {}).items() if key != "beam"}
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("adapter.lm_")}
    return ({**config, "adapter": adapter} if adapter else config), kept
