"""Checkpoints of the reference system: {name: factory}. A factory returns the path of the weights, or says what is missing."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from fobench.api.hookspecs import Factories
from fobench.errors import PrerequisiteError

REPO = "VITA-MLLM/Freeze-Omni"
FILES = {"audiollm/final.pt": 1.50, "decoder/final.pt": 0.66, "codec/final.pt": 0.25}  # GB in float32
LICENCE = "research use only (the licence file of the repository)"

SHIPPED = Path(str(files("reference_model"))) / "shipped"  # a folder a backbone, each a checkpoint in parts
INDEX = "index.json"


def shipped(folder: Path = SHIPPED) -> Factories:
    """The checkpoints that this project trained and carries, by name."""
    return {f"freeze-omni/{index.parent.name}": _carried(index.parent) for index in sorted(folder.glob(f"*/{INDEX}"))}


def _carried(folder: Path) -> Callable[[], Path]:
    def factory() -> Path:
        return folder

    factory.__doc__ = (
        f"Freeze-Omni as trained here, {folder.name}: fp16, in the package, pinned by hash (see its MODEL_CARD.md)."
    )
    return factory


def published() -> Path:
    """Freeze-Omni as published, for Qwen2-7B-Instruct (research use only): three files, 2.4 GB."""
    return _cached() or _missing()


def untrained(config: str) -> Path:
    """`untrained:` random weights in the sizes of a configuration (paper, small, tiny or a TOML file): speed, never quality."""
    return Path(f"untrained:{config}")


def _cached() -> Path | None:
    """The repository's folder in the hub's local cache, if all three files are in it."""
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


def _missing() -> Path:
    files = ", ".join(f"{name} ({size:.2f} GB)" for name, size in FILES.items())
    raise PrerequisiteError(
        f"Checkpoint freeze-omni/qwen2-7b: {REPO} is not in the local cache. It holds {files}; licence: {LICENCE}.\n"
        f"  Get it:       hf download {REPO}\n"
        f"  Or, from any folder that holds these files: --checkpoint FOLDER"
    )


FACTORIES: Factories = {**shipped(), "freeze-omni/qwen2-7b": published, "untrained:": untrained}
