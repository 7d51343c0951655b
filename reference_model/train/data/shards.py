"""Shards of speech: tar files in the WebDataset layout, `<id>.flac` and `<id>.json` for each clip.

Shards are written atomically. Clips that cannot be read are skipped, counted and listed.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from fobench.api.types import AudioChunk
from fobench.atomic_files import atomic_path
from fobench.errors import FobenchError

AUDIO, INFO = ".flac", ".json"


@dataclass(frozen=True, slots=True)
class PackedClip:
    """A spoken sentence as stored in a shard.

    `flac`: the bytes of the FLAC file; `info`: text, kind, split, manner (voice, speaker, ...), samples, speech_ns
    (start, end).
    """

    id: str
    flac: bytes
    info: dict[str, Any]


def encode_flac(samples: npt.NDArray[np.float32], rate_hz: int) -> bytes:
    """Returns mono `samples` [T] as the bytes of a 16-bit FLAC file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def decode_flac(flac: bytes) -> AudioChunk:
    """Returns the audio of a FLAC file's bytes. Raises ValueError if they are not FLAC, not mono, or hold no sample."""
    try:
        samples, rate_hz = soundfile.read(io.BytesIO(flac), dtype="float32")
    except soundfile.LibsndfileError as error:
        raise ValueError(f"cannot be decoded: {error}") from error
    if samples.ndim != 1 or not len(samples):
        raise ValueError(f"not mono audio: shape {samples.shape}")
    return AudioChunk(samples, rate_hz)


def write(path: Path, clips: Iterable[PackedClip]) -> None:
    """Writes a shard atomically. Members carry no time or owner, so that the same clips give the same bytes."""
    with atomic_path(path) as temporary, tarfile.open(temporary, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for clip in clips:
            _add(tar, clip.id + AUDIO, clip.flac)
            _add(tar, clip.id + INFO, json.dumps(clip.info, sort_keys=True).encode())


def paths(folder: Path, split: str = "train") -> list[Path]:
    """Returns the complete shards of a split, sorted. Raises FobenchError naming the folder if there is none."""
    shards = sorted(folder.glob(f"{split}-*.tar"))
    if not shards:
        raise FobenchError(f"{folder} holds no shard {split}-*.tar. Render: fobench train render --help")
    return shards


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def check_end(path: Path, end: int) -> None:
    """Raises EOFError if a tar file has no end mark at byte `end`: clips are then missing, which tarfile does not
    report.
    """
    with path.open("rb") as file:
        file.seek(end)
        rest = file.read(tarfile.RECORDSIZE + 2 * tarfile.BLOCKSIZE)
        if len(rest) < 2 * tarfile.BLOCKSIZE or any(rest) or file.read(1):
            raise EOFError(f"no end mark at byte {end}, so clips may be missing")
