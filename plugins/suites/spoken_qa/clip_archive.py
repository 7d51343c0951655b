"""The archive of shipped clips: a zip of Ogg/Opus files with `rendering.json`, unpacked into the cache at first use.

`rendering.json`: {"voice", "rate_hz", "clips": {id: {"file", "text_sha256", "speaker", "start_ns", "end_ns"}}}; the
speech bounds are those of the synthesized audio before Opus coding.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from fobench import audio
from fobench.api.types import AudioChunk
from fobench.assets import store
from fobench.assets.catalog import is_plain_name
from fobench.atomic_files import atomic_path
from fobench.errors import FobenchError

ARCHIVE = Path(__file__).with_name("audio.zip")
INDEX = "rendering.json"
SUFFIX = ".ogg"
COMPRESSION = 0.93  # libsndfile's scale of 0 to 1: about 24 kbit/s
DATE = (1980, 1, 1, 0, 0, 0)  # of every member, so that equal clips give an equal archive


@dataclass(frozen=True, slots=True)
class ArchivedClip:
    """A shipped clip. `sha256`: hash of its samples as decoded on this machine, set when unpacked."""

    file: str
    text_sha256: str
    speaker: str
    start_ns: int
    end_ns: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class ClipArchive:
    """The shipped clips by question id, the voice plugin that synthesized them, and the folder of the files."""

    voice: str
    folder: Path
    clips: Mapping[str, ArchivedClip]


def open_archive(archive: Path = ARCHIVE) -> ClipArchive:
    """The unpacked archive, without clips if the file does not exist. Raises `FobenchError` for a damaged file."""
    if not archive.is_file():
        return ClipArchive("", archive.parent, {})
    folder = store.converted("spoken-qa-1", archive, lambda folder: _unpack(archive, folder))
    index = json.loads((folder / INDEX).read_text())
    return ClipArchive(index["voice"], folder, {name: ArchivedClip(**clip) for name, clip in index["clips"].items()})


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as archive_file:
            index = json.loads(archive_file.read(INDEX))
            for clip in index["clips"].values():
                if not is_plain_name(clip["file"]) or clip["file"] == INDEX:
                    raise ValueError(f"{clip['file']!r} is not the name of a clip")
                path = folder / clip["file"]
                path.write_bytes(archive_file.read(clip["file"]))
                chunk = audio.load(path)
                clip["sha256"] = audio.sha256(chunk.samples, chunk.rate_hz)
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise FobenchError(f"{archive} is damaged ({error}): install fobench again.") from error
    (folder / INDEX).write_text(json.dumps(index, indent=1))


def encode(path: Path, chunk: AudioChunk) -> None:
    """Writes Ogg/Opus with the same number of samples as `chunk`."""
    import soundfile

    soundfile.write(path, chunk.samples, chunk.rate_hz, format="OGG", subtype="OPUS", compression_level=COMPRESSION)


def pack(archive: Path, voice: str, rate_hz: int, clips: Mapping[str, ArchivedClip], folder: Path) -> None:
    """Writes the archive of the encoded clips in `folder`, atomically."""
    entries = {name: {k: v for k, v in asdict(clip).items() if k != "sha256"} for name, clip in clips.items()}
    index = {"voice": voice, "rate_hz": rate_hz, "clips": entries}
    with atomic_path(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive_file:
        archive_file.writestr(zipfile.ZipInfo(INDEX, DATE), json.dumps(index, indent=1))
        for clip in clips.values():
            archive_file.writestr(zipfile.ZipInfo(clip.file, DATE), (folder / clip.file).read_bytes())
