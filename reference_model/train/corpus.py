"""Clips to train on, by number: shards and manifests of recordings, indexed once and read at random.

A manifest is a JSON lines file of {"audio": path beside it, "text": ..., "speaker": ...}, e.g. of any ASR corpus. What cannot be
read is skipped, counted and listed.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from fobench.errors import FobenchError
from reference_model.train.shards import AUDIO, INFO, Faults, decoded
from reference_model.train.shards import paths as shard_paths

Samples = npt.NDArray[np.float32]

SECONDS = (0.15, 20.0)  # that a clip may last


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a clip lies. `offset`, `size`: of its FLAC file within a tar; both 0 for a file of its own."""

    id: str
    text: str
    seconds: float
    path: Path
    offset: int = 0
    size: int = 0
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Corpus:
    """Clips in a fixed order. `faults` grows while it is read."""

    entries: list[Entry]
    rate_hz: int
    faults: Faults = field(default_factory=Faults)

    @classmethod
    def open(cls, sources: Iterable[Path], rate_hz: int, split: str = "train") -> Corpus:
        """`sources`: folders of shards, or manifests (for `split` "train" only, unless their lines name one).

        Raises FobenchError for a source that is neither, and where nothing is left.
        """
        faults, entries = Faults(), []
        for source in sources:
            entries += _manifest(source, split, faults) if source.is_file() else _shards(source, split, faults)
        if not entries:
            raise FobenchError(f"No clip of split {split} to train on. {len(faults)} were skipped:\n{faults}")
        return cls(entries, rate_hz, faults)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def hours(self) -> float:
        return sum(entry.seconds for entry in self.entries) / 3600

    def samples(self, index: int) -> Samples | None:
        """The sound of a clip [T] at `rate_hz`; None, and a line in `faults`, where it cannot be read."""
        entry = self.entries[index]
        try:
            return _read(entry, self.rate_hz)
        except (OSError, ValueError, soundfile.LibsndfileError) as error:
            self.faults.add(f"{entry.path.name}/{entry.id}", str(error))
            return None


def _read(entry: Entry, rate_hz: int) -> Samples:
    if entry.size:
        with entry.path.open("rb") as file:
            file.seek(entry.offset)
            chunk = decoded(file.read(entry.size))
        samples, rate = chunk.samples, chunk.rate_hz
    else:
        samples, rate = soundfile.read(entry.path, dtype="float32", always_2d=True)
        samples = samples.mean(1)
    if rate != rate_hz:
        samples = soxr.resample(samples, rate, rate_hz)
    if not np.isfinite(samples).all():
        raise ValueError("holds values that are not finite")
    return np.ascontiguousarray(samples, dtype=np.float32)


def _shards(folder: Path, split: str, faults: Faults) -> list[Entry]:
    return [entry for path in shard_paths(folder, split) for entry in _shard(path, faults)]


def _shard(path: Path, faults: Faults) -> list[Entry]:
    """The clips of one tar; of a broken one, those before the break."""
    entries: list[Entry] = []
    audio: tarfile.TarInfo | None = None
    try:
        with tarfile.open(path, mode="r:") as tar:
            for member in tar:
                if member.name.endswith(AUDIO):
                    audio = member
                elif member.name.endswith(INFO) and audio is not None:
                    _append(entries, path, tar, audio, member, faults)
    except (tarfile.TarError, EOFError, OSError) as error:
        faults.add(path.name, f"broken tar: {error}")
    return entries


def _append(
    entries: list[Entry],
    path: Path,
    tar: tarfile.TarFile,
    audio: tarfile.TarInfo,
    about: tarfile.TarInfo,
    faults: Faults,
) -> None:
    name = about.name.removesuffix(INFO)
    try:
        file = tar.extractfile(about)
        info = json.loads(file.read()) if file else {}
        seconds = info["samples"] / info["rate_hz"]
        if audio.name.removesuffix(AUDIO) != name or not info["text"]:
            raise ValueError("has no text, or no audio")
    except (ValueError, KeyError, TypeError) as error:
        faults.add(f"{path.name}/{name}", str(error))
        return
    if SECONDS[0] <= seconds <= SECONDS[1]:
        entries.append(Entry(name, info["text"], seconds, path, audio.offset_data, audio.size, info))
    else:
        faults.add(f"{path.name}/{name}", f"lasts {seconds:.2f} s")


def _manifest(path: Path, split: str, faults: Faults) -> list[Entry]:
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            audio, text = path.parent / row["audio"], row["text"]
            found = soundfile.info(audio)
            seconds = found.frames / found.samplerate
            if not text or not SECONDS[0] <= seconds <= SECONDS[1]:
                raise ValueError(f"text {text!r}, {seconds:.2f} s")
        except (ValueError, KeyError, TypeError, OSError, soundfile.LibsndfileError) as error:
            faults.add(f"{path.name}:{number}", str(error))
            continue
        if row.get("split", "train") == split:
            entries.append(Entry(str(row.get("id", number)), written(text), seconds, audio, info=row))
    return entries


def written(text: str) -> str:
    """A transcript as it would be written: ASR corpora have it all in capitals, or all small, and without a stop."""
    text = " ".join(text.split())
    if text.isupper() or text.islower():
        text = text.lower()
        text = text[0].upper() + text[1:]
    return text if text[-1] in ".?!" else text + "."


def subset(corpus: Corpus, indices: Sequence[int]) -> Corpus:
    """A corpus of some of the clips."""
    return Corpus([corpus.entries[i] for i in indices], corpus.rate_hz, corpus.faults)
