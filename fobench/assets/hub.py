"""Models of the Hugging Face hub: where their files lie here, and what is missing, said before anything heavy is imported."""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fobench.errors import FobenchError, PrerequisiteError

ANSWER_S = 15.0  # longest wait for the hub's answer
FILES = ("*.safetensors", "*.json", "*.jinja", "tokenizer*", "*.model", "merges.txt", "vocab*")
GB = 1e9


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model on the hub. `parameters` in 1e9 (None: not known), of `bytes_each` in its files.

    `needs`: the files that a complete copy holds beside its safetensors. `otherwise`: the option that takes a folder instead.
    """

    repo: str
    parameters: float | None = None
    licence: str = ""
    gated: bool = False
    revision: str = "main"
    needs: tuple[str, ...] = ("config.json", "tokenizer_config.json")
    otherwise: str = "--backbone hf:FOLDER"
    bytes_each: int = 2

    @property
    def size_gb(self) -> float | None:
        """The files' size."""
        return None if self.parameters is None else self.bytes_each * self.parameters


def folder(weights: HubModel, *, offline: bool, lacks: list[str]) -> Path:
    """The folder with the weights, downloaded if the hub answers.

    `lacks` is what else the machine lacks; PrerequisiteError says all of it at once, before anything is downloaded.
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
    """The snapshot in the local hub cache (`cache`: another one than usual) if its safetensors are complete, else None."""
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
    """A local folder that holds a model. Raises FobenchError saying what it lacks."""
    if not (path / "config.json").is_file():
        raise FobenchError(f"{path} holds no config.json, so it is no folder of a transformers model.")
    if not any(path.glob("*.safetensors")):
        raise FobenchError(
            f"{path} holds no .safetensors; other formats can carry code and are not read. Convert it first."
        )
    return path


def _weights_lack(weights: HubModel, reason: str | None) -> str:
    size = f"{weights.size_gb:.1f} GB" if weights.size_gb else "size not known"
    lines = [
        f"Weights: {weights.repo} ({size}{', ' + weights.licence if weights.licence else ''}) is not in the local cache"
    ]
    lines[0] += f"; {reason}." if reason else "."
    if weights.gated:
        lines.append(
            f"  It is gated: accept its licence at https://huggingface.co/{weights.repo}, then `hf auth login`."
        )
    lines.append(f"  Get it, on a machine that reaches the hub: `hf download {weights.repo} --exclude 'original/*'`")
    lines.append(f"  (copied from elsewhere: `{weights.otherwise}`).")
    return "\n".join(lines)


def _disk_lack(weights: HubModel) -> list[str]:
    from huggingface_hub.constants import HF_HUB_CACHE

    place = next(p for p in (Path(HF_HUB_CACHE), *Path(HF_HUB_CACHE).parents) if p.exists())
    free = shutil.disk_usage(place).free / GB
    if weights.size_gb is None or free > weights.size_gb * 1.05:
        return []
    return [
        f"Disk: the download needs {weights.size_gb:.1f} GB, {free:.1f} GB are free under {place}. Set HF_HOME elsewhere."
    ]


def _unavailable(weights: HubModel, offline: bool) -> str | None:
    """Why the hub will not give it now; None if it will."""
    if offline or any(
        os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in ("HF_HUB_OFFLINE", "FOBENCH_OFFLINE")
    ):
        return "offline by request"
    answer: list[Any] = []
    thread = threading.Thread(
        target=lambda: answer.append(_ask(weights)), daemon=True
    )  # a name look-up obeys no time-out
    thread.start()
    thread.join(ANSWER_S)
    return answer[0] if answer else f"the hub gave no answer within {ANSWER_S:.0f} s"


def _ask(weights: HubModel) -> str | None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        HfApi().auth_check(weights.repo)
    except GatedRepoError:
        return "it is gated and this machine's account has no access"
    except RepositoryNotFoundError:
        return "the hub knows no such repository, or hides it from this machine's account"
    except HfHubHTTPError as error:
        return f"the hub answers {error}"
    except Exception as error:  # whatever the HTTP client raises when there is no network
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
            f"{weights.repo} could not be downloaded: {error}\nTry again: what has arrived is kept."
        ) from error
