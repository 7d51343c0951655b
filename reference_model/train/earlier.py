"""Weights of an earlier training for one that begins: part by part, each of the configuration that is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fobench.errors import FobenchError
from reference_model import weights
from reference_model.train import saved


@dataclass(frozen=True, slots=True)
class Earlier:
    """A stage's checkpoint, or a whole model's."""

    path: Path
    config: dict[str, Any]
    tensors: dict[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> Earlier:
        """A file, or the newest checkpoint in the folder of a training. FobenchError or PrerequisiteError where there is none."""
        file = saved.newest(path) / saved.MODEL if path.is_dir() else path
        return cls(file, *weights.load(file))

    def about(self, name: str) -> dict[str, Any] | None:
        """The configuration of a part as its own dataclass has it; None where the checkpoint has no such part."""
        found = self.config.get(name)
        return {k: v for k, v in found.items() if k != "kind"} if isinstance(found, Mapping) else None

    def give(self, module: nn.Module, name: str, config: Any) -> None:
        """Fills a part, whose `config` is a dataclass, from the part of that name. FobenchError naming what differs."""
        about = self.about(name)
        if about is None:
            raise FobenchError(f"{self.path} has no {name}. It is of {', '.join(sorted(self.config)) or 'nothing'}.")
        if differing := saved.differences(about, json.loads(json.dumps(asdict(config))), f"{name}."):
            raise FobenchError(
                f"{self.path} is of another configuration ({'; '.join(differing)}). Choose another --init, or --config."
            )
        self.fill(module, name)

    def fill(self, module: nn.Module, name: str) -> bool:
        """Fills a part by its tensors' names within it, strictly; False where the checkpoint has none of them."""
        found = weights.part(self.tensors, name)
        if found:
            weights.fill(module, found, f"{self.path} ({name})")
        return bool(found)
