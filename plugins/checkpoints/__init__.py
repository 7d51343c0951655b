"""Checkpoints of Freeze-Omni: {name: factory}.

A factory returns the path of the weights, or raises PrerequisiteError.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from fobench.api.hookspecs import Factories
from fobench.errors import PrerequisiteError
from fobench.storage.run_config import ANY_BACKBONE

REPO = "VITA-MLLM/Freeze-Omni"
FILES = {"audiollm/final.pt": 1.50, "decoder/final.pt": 0.66, "codec/final.pt": 0.25}  # GB in float32
LICENSE = "research use only (see the license file of the repository)"

SHIPPED = (
    Path(str(files("reference_model"))) / "shipped"
)  # one folder per backbone, or `any`, each a checkpoint in parts
INDEX = "index.json"


def shipped(folder: Path = SHIPPED) -> Factories:
    """{name: factory} of the checkpoints that were trained in this project and come with the package."""
    return {
        f"freeze-omni/{index.parent.name}": _shipped_factory(index.parent)
        for index in sorted(folder.glob(f"*/{INDEX}"))
    }


def _shipped_factory(folder: Path) -> Callable[[], Path]:
    def factory() -> Path:
        return folder

    backbone = "any backbone" if folder.name == ANY_BACKBONE else folder.name
    factory.__doc__ = (
        f"Freeze-Omni trained in this project for {backbone}: float16, part of the package, pinned by hash "
        "(see its MODEL_CARD.md)."
    )
    return factory


def published() -> Path:
    """The published Freeze-Omni (arXiv 2411.00774) for Qwen2-7B-Instruct: three files, 2.4 GB, research use only."""
    folder = _cached_folder()
    if folder is None:
        files = ", ".join(f"{name} ({size:.2f} GB)" for name, size in FILES.items())
        raise PrerequisiteError(
            f"Checkpoint freeze-omni/qwen2-7b: {REPO} is not in the local cache. "
            f"It contains {files}; license: {LICENSE}.\n"
            f"  Get it:       hf download {REPO}\n"
            f"  Or, from any folder that contains these files: --checkpoint FOLDER\n"
            f"  Or the small one that fits every LLM: --checkpoint freeze-omni/{ANY_BACKBONE}"
        )
    return folder


def untrained(config: str) -> Path:
    """Random weights in the sizes of a configuration (paper, small, tiny or a TOML file), for measurements of speed
    only.
    """
    return Path(f"untrained:{config}")


def _cached_folder() -> Path | None:
    """The repository's folder in the local hub cache, if it has all three files."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError:
        return None
    try:
        folder = Path(snapshot_download(REPO, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return folder if all(next(folder.rglob(name), None) for name in FILES) else None


FACTORIES: Factories = {**shipped(), "freeze-omni/qwen2-7b": published, "untrained:": untrained}
