"""Shards of speech: tar files in the WebDataset layout, `<id>.flac` and `<id>.json` for each clip.

A shard is complete or absent: it is written under a temporary name. What cannot be read is skipped, counted and listed.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from fobench.api.types import AudioChunk
from fobench.errors import FobenchError
from reference_model.train.engine.skipped_samples import SkippedSamples

AUDIO, INFO = ".flac", ".json"


@dataclass(frozen=True, slots=True)
class PackedClip:
    """A spoken sentence as it lies in a shard. `flac`: its file's bytes; `info`: see Clip."""

    id: str
    flac: bytes
    info: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ShardClip:
    """A spoken sentence. `info`: text, kind, split, manner (voice, speaker, ...), samples, speech_ns (start, end)."""

    id: str
    audio: AudioChunk
    info: dict[str, Any]


def encoded(samples: npt.NDArray[np.float32], rate_hz: int) -> bytes:
    """Mono `samples` [T] as the bytes of a 16-bit FLAC file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def decoded(flac: bytes) -> AudioChunk:
    """The sound of a FLAC file's bytes. Raises ValueError if they are none, or not mono, or hold no sample."""
    try:
        samples, rate_hz = soundfile.read(io.BytesIO(flac), dtype="float32")
    except soundfile.LibsndfileError as error:
        raise ValueError(f"cannot be decoded: {error}") from error
    if samples.ndim != 1 or not len(samples):
        raise ValueError(f"not mono audio: shape {samples.shape}")
    return AudioChunk(samples, rate_hz)


def write(path: Path, clips: Iterable[PackedClip]) -> None:
    """Writes a shard under a temporary name, then renames it. Members carry no time or owner: same clips, same bytes."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                for clip in clips:
                    _add(tar, clip.id + AUDIO, clip.flac)
                    _add(tar, clip.id + INFO, json.dumps(clip.info, sort_keys=True).encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path, faults: SkippedSamples) -> Iterator[ShardClip]:
    """The clips of a shard, in order. What is broken goes to `faults`: the clip, or all that follows in a broken tar."""
    for name, parts in _grouped(path, faults):
        try:
            yield _clip(name, parts)
        except ValueError as error:
            faults.add(f"{path.name}/{name}", str(error))


def paths(folder: Path, split: str = "train") -> list[Path]:
    """The complete shards of a split, sorted. Raises FobenchError naming the folder if there is none."""
    found = sorted(folder.glob(f"{split}-*.tar"))
    if not found:
        raise FobenchError(
            f"{folder} holds no shard {split}-*.tar. Render: python -m reference_model.train.synthesis.render --help"
        )
    return found


def clips(shards: Iterable[Path], faults: SkippedSamples, skip: int = 0) -> Iterator[ShardClip]:
    """The clips of several shards one after the other, without the first `skip`: to go on where a reader stopped."""
    for path in shards:
        for clip in read(path, faults):
            if skip:
                skip -= 1
            else:
                yield clip


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _grouped(path: Path, faults: SkippedSamples) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(name, {suffix: content}) of neighbouring members of one name, as far as the tar can be read."""
    name = ""
    parts: dict[str, bytes] = {}
    try:
        with tarfile.open(path, mode="r:") as tar:
            for member in tar:
                stem, suffix = Path(member.name).stem, Path(member.name).suffix
                if stem != name:
                    if parts:
                        yield name, parts
                    name, parts = stem, {}
                parts[suffix] = _content(tar, member)
            check_end(path, tar.offset)
    except (tarfile.TarError, EOFError, OSError) as error:
        faults.add(path.name, f"broken tar: {error}")
    if parts:
        yield name, parts


def check_end(path: Path, end: int) -> None:
    """Raises EOFError where a tar does not end as it should at its byte `end`: clips are lost then, and tarfile says nothing."""
    with path.open("rb") as file:
        file.seek(end)
        rest = file.read(tarfile.RECORDSIZE + 2 * tarfile.BLOCKSIZE)
        if len(rest) < 2 * tarfile.BLOCKSIZE or any(rest) or file.read(1):
            raise EOFError(f"no end mark at byte {end}, so clips may be missing")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    data = file.read() if file else b""
    if len(data) != member.size:
        raise EOFError(f"{member.name} is cut off")
    return data


def _clip(name: str, parts: dict[str, bytes]) -> ShardClip:
    """Raises ValueError saying what is wrong."""
    for suffix in (AUDIO, INFO):
        if suffix not in parts:
            raise ValueError(f"has no {suffix}")
    info = json.loads(parts[INFO])
    if not isinstance(info, dict) or not isinstance(info.get("text"), str) or not info["text"].strip():
        raise ValueError(f"no text in its {INFO}")
    return ShardClip(name, decoded(parts[AUDIO]), info)
