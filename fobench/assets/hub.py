"""Models of the Hugging Face hub: the local cache, what is missing, and the download. Nothing heavy is imported before that check."""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fobench.errors import FobenchError, PrerequisiteError

RESPONSE_S = 15.0  # time-out of the hub's response
FILES = ("*.safetensors", "*.json", "*.jinja", "tokenizer*", "*.model", "merges.txt", "vocab*")
GB = 1e9


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model on the hub. `parameters` in 1e9 (None: unknown), stored with `bytes_each` bytes per parameter.

    `needs`: the files of a complete copy besides its safetensors. `otherwise`: the option that takes a local folder instead.
    """

    repo: str
    parameters: float | None = None
    license: str = ""
    gated: bool = False
    revision: str = "main"
    needs: tuple[str, ...] = ("config.json", "tokenizer_config.json")
    otherwise: str = "--backbone hf:FOLDER"
    bytes_each: int = 2

    @property
    def size_gb(self) -> float | None:
        """The size of the files in GB; None if unknown."""
        return None if self.parameters is None else self.bytes_each * self.parameters


def folder(weights: HubModel, *, offline: bool, lacks: list[str]) -> Path:
    """The folder with the weights, which are downloaded if the hub is reachable.

    `lacks`: further missing prerequisites of this machine. Raises PrerequisiteError with all of them before any download.
    """
    found = cached(weights)
    reason = None if found or lacks else _unavailable(weights, offline)
    if not found:
        lacks = ([_weights_lack(weights, reason)] if reason or lacks else []) + lacks
        lacks += _disk_lack(weights)
    if lacks:
        raise PrerequisiteError(f"{weights.repo} cannot run here.\n" + "\n".join(f"- {lack}" for lack in lacks))
    return found or _download(weights)


def cached(weights: HubModel, cache: str | None = None) -> Path | None:
    """The snapshot in the local hub cache (`cache`: another folder than the default) if it is complete, else None."""
    from huggingface_hub import try_to_load_from_cache

    def find(name: str) -> Path | None:
        path = try_to_load_from_cache(weights.repo, name, cache, weights.revision)
        return Path(path) if isinstance(path, str) else None

    config = find("config.json")
    if config is None or not all(map(find, weights.needs)):
        return None
    index = find("model.safetensors.index.json")
    names = set(json.loads(index.read_text())["weight_map"].values()) if index else {"model.safetensors"}
    return config.parent if all(find(name) for name in names) else None


def local(path: Path) -> Path:
    """The local folder `path` of a model. Raises FobenchError naming a missing file."""
    if not (path / "config.json").is_file():
        raise FobenchError(f"{path} has no config.json, so it is not the folder of a transformers model.")
    if not any(path.glob("*.safetensors")):
        raise FobenchError(
            f"{path} has no .safetensors file; other formats can contain code and are not loaded. Convert the model first."
        )
    return path


def _weights_lack(weights: HubModel, reason: str | None) -> str:
    size = f"{weights.size_gb:.1f} GB" if weights.size_gb else "size unknown"
    lines = [
        f"Weights: {weights.repo} ({size}{', ' + weights.license if weights.license else ''}) is not in the local cache"
    ]
    lines[0] += f"; {reason}." if reason else "."
    if weights.gated:
        lines.append(
            f"  It is gated: accept its license at https://huggingface.co/{weights.repo}, then `hf auth login`."
        )
    lines.append(
        f"  Download it on a machine with access to the hub: `hf download {weights.repo} --exclude 'original/*'`"
    )
    lines.append(f"  (for a copy in a local folder: `{weights.otherwise}`).")
    return "\n".join(lines)


def _disk_lack(weights: HubModel) -> list[str]:
    from huggingface_hub.constants import HF_HUB_CACHE

    place = next(p for p in (Path(HF_HUB_CACHE), *Path(HF_HUB_CACHE).parents) if p.exists())
    free = shutil.disk_usage(place).free / GB
    if weights.size_gb is None or free > weights.size_gb * 1.05:
        return []
    return [
        f"Disk: the download needs {weights.size_gb:.1f} GB, {free:.1f} GB are free under {place}. Set HF_HOME to a larger disk."
    ]


def _unavailable(weights: HubModel, offline: bool) -> str | None:
    """Why the hub cannot provide the weights now; None if it can."""
    if offline or any(
        os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in ("HF_HUB_OFFLINE", "FOBENCH_OFFLINE")
    ):
        return "offline by request"
    answer: list[Any] = []
    thread = threading.Thread(
        target=lambda: answer.append(_access_error(weights)), daemon=True
    )  # a name look-up has no time-out
    thread.start()
    thread.join(RESPONSE_S)
    return answer[0] if answer else f"the hub did not respond within {RESPONSE_S:.0f} s"


def _access_error(weights: HubModel) -> str | None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        HfApi().auth_check(weights.repo)
    except GatedRepoError:
        return "it is gated, and this machine's account has no access"
    except RepositoryNotFoundError:
        return "the repository does not exist on the hub, or this machine's account has no access"
    except HfHubHTTPError as error:
        return f"the hub answers {error}"
    except Exception as error:  # any exception of the HTTP client without a network
        return f"the hub cannot be reached ({type(error).__name__})"
    return None


def _download(weights: HubModel) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                weights.repo, revision=weights.revision, allow_patterns=list(FILES), ignore_patterns=["original/*"]
            )
        )
    except OSError as error:
        raise PrerequisiteError(
            f"{weights.repo} could not be downloaded: {error}\nTry again: downloaded parts are kept."
        ) from error
