"""Files from npm packages: a tarball is fetched once by the npm client, checked by its pinned SHA-256, and read as a tar archive."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from pathlib import Path

from fobench.assets.download import BLOCK, SourceError
from fobench.assets.files import sha256
from fobench.atomic_files import open_new

PACK_S = 1800.0  # time-out of `npm pack`
OPTIONS = ("--silent", "--ignore-scripts", "--fetch-retries=1", "--fetch-timeout=30000")
ROOT = "package"  # of every tarball


def tarball(package: str, version: str, digest: str, to: Path) -> Path:
    """Fetches the tarball of one package to `to` and returns `to`; `digest` is its SHA-256 in hex.

    `npm pack` applies npm's complete configuration (registry, proxy, credentials) and runs no code of the package. Raises
    SourceError if it is unavailable or has other bytes.
    """
    if to.exists():
        return to
    npm = shutil.which("npm")
    if npm is None:
        raise SourceError("this machine has no npm, which comes with Node.js")
    with tempfile.TemporaryDirectory(dir=to.parent) as folder:  # empty: no project's settings apply
        command = [npm, "pack", f"{package}@{version}", f"--pack-destination={folder}", *OPTIONS]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PACK_S, check=False)
        except subprocess.TimeoutExpired:
            raise SourceError(f"npm pack took longer than {PACK_S:.0f} s") from None
        found = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(found) != 1:
            lines = done.stderr.strip().splitlines() or [f"no registry offers {package}@{version}, or none responds"]
            raise SourceError(f"npm pack: {lines[0].removeprefix('npm error ')}")
        if (received := sha256(found[0])) != digest:
            raise SourceError(f"refused: the tarball has the SHA-256 {received}, not the pinned {digest}")
        found[0].replace(to)
    return to


def extract(archive: Path, member: str, to: Path, size: int) -> None:
    """Writes a member of a tarball to `to` and syncs it to disk.

    Raises SourceError unless it is there, a regular file, and of `size` bytes.
    """
    try:
        with tarfile.open(archive, "r:gz") as packed, open_new(to) as out:
            found = packed.getmember(f"{ROOT}/{member}")
            source = packed.extractfile(found) if found.isreg() else None
            if source is None or found.size != size:
                raise SourceError(f"{member} in {archive.name} is not a file of the pinned {size} bytes")
            shutil.copyfileobj(source, out, BLOCK)
            out.flush()
            os.fsync(out.fileno())
    except KeyError:
        raise SourceError(f"{archive.name} does not hold {member}") from None
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of the archive
            raise
        raise SourceError(f"{archive.name} cannot be read as a tarball: {error}") from error
