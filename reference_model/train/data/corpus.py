"""Clips to train on, by number: shards, and recordings in the forms of `recordings`, indexed once and read at random.

What cannot be read is skipped, counted and listed.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from fobench.errors import FobenchError
from reference_model.train.data import manifests
from reference_model.train.data.manifests import SLACK_S, UNREADABLE, ClipEntry, spoken, timed
from reference_model.train.data.shards import AUDIO, INFO, check_end, decoded
from reference_model.train.data.shards import paths as shard_paths
from reference_model.train.engine.skipped_samples import SkippedSamples

Samples = npt.NDArray[np.float32]

SILENT = 1e-4  # peak below which there is nothing to hear
LOUDEST = 8.0  # peak above which samples are not what they should be: within [-1, 1], or a little more


@dataclass(slots=True)
class Corpus:
    """Clips in a fixed order. `faults` grows while it is read."""

    entries: list[ClipEntry]
    rate_hz: int
    faults: SkippedSamples = field(default_factory=SkippedSamples)

    @classmethod
    def open(cls, sources: Iterable[Path], rate_hz: int, split: str = "train") -> Corpus:
        """`sources`: folders of shards, or any that `recordings` reads (for `split` "train" only, unless they name another).

        Raises FobenchError for a source that is neither, and where nothing is left.
        """
        faults, entries, sources = SkippedSamples(), [], list(sources)
        for source in sources:
            is_shards = source.is_dir() and any(source.glob("*.tar"))
            entries += _shards(source, split, faults) if is_shards else manifests.entries(source, split, faults)
        if not entries:
            told = f" {len(faults)} were skipped:\n{faults.told()}" if len(faults) else ""
            raise FobenchError(f"No clip of split {split} in {', '.join(map(str, sources))}.{told}")
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
        except UNREADABLE as error:
            self.faults.add(f"{entry.path.name}/{entry.id}", str(error))
            return None


def _read(entry: ClipEntry, rate_hz: int) -> Samples:
    """Mono samples at `rate_hz`. Any of `UNREADABLE`, saying what is wrong with them."""
    samples, rate = _sound(entry)
    if abs(len(samples) / rate - entry.seconds) > SLACK_S:
        raise ValueError(f"lasts {len(samples) / rate:.2f} s, and not the {entry.seconds:.2f} s that are told of it")
    peak = float(np.abs(samples).max(initial=0.0))
    if not np.isfinite(peak):
        raise ValueError("holds values that are not finite")
    if not SILENT <= peak <= LOUDEST:
        raise ValueError(f"is silent, or no sound: its peak is {peak:.2g}, of 1")
    if rate != rate_hz:
        samples = soxr.resample(samples, rate, rate_hz)
    return np.ascontiguousarray(samples, dtype=np.float32)


def _sound(entry: ClipEntry) -> tuple[Samples, int]:
    """(samples [T] of all channels together, their rate), as they are stored."""
    if entry.size:
        with entry.path.open("rb") as file:
            file.seek(entry.offset)
            chunk = decoded(file.read(entry.size))
        return chunk.samples, chunk.rate_hz
    content = manifests.content(entry)
    with soundfile.SoundFile(io.BytesIO(content) if content is not None else entry.path) as sound:
        sound.seek(round(entry.start * sound.samplerate))
        count = round(entry.seconds * sound.samplerate) if entry.start else -1
        return sound.read(count, dtype="float32", always_2d=True).mean(1), sound.samplerate


def _shards(folder: Path, split: str, faults: SkippedSamples) -> list[ClipEntry]:
    return [entry for path in shard_paths(folder, split) for entry in _shard(path, faults)]


def _shard(path: Path, faults: SkippedSamples) -> list[ClipEntry]:
    """The clips of one tar; of a broken one, those before the break."""
    entries: list[ClipEntry] = []
    audio: tarfile.TarInfo | None = None
    try:
        with tarfile.open(path, mode="r:") as tar:
            for member in tar:
                if member.name.endswith(AUDIO):
                    _lost(path, audio, faults)
                    audio = member
                elif member.name.endswith(INFO):
                    if audio is not None and _stem(audio) != _stem(member):
                        _lost(path, audio, faults)
                        audio = None
                    _append(entries, path, tar, audio, member, faults)
                    audio = None
            _lost(path, audio, faults)
            check_end(path, tar.offset)
    except (tarfile.TarError, EOFError, OSError) as error:
        faults.add(path.name, f"broken tar: {error}")
    return entries


def _lost(path: Path, audio: tarfile.TarInfo | None, faults: SkippedSamples) -> None:
    """Tells of audio that nothing is told about."""
    if audio is not None:
        faults.add(f"{path.name}/{_stem(audio)}", f"has no {INFO}")


def _stem(member: tarfile.TarInfo) -> str:
    return member.name.removesuffix(AUDIO).removesuffix(INFO)


def _append(
    entries: list[ClipEntry],
    path: Path,
    tar: tarfile.TarFile,
    audio: tarfile.TarInfo | None,
    about: tarfile.TarInfo,
    faults: SkippedSamples,
) -> None:
    name = _stem(about)
    try:
        if audio is None:
            raise ValueError(f"has no {AUDIO}")
        file = tar.extractfile(about)
        info = json.loads(file.read()) if file else {}
        seconds = timed(info["samples"] / info["rate_hz"])
        spoken(info["text"])
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        faults.add(f"{path.name}/{name}", f"lacks {error}" if isinstance(error, KeyError) else str(error))
        return
    entries.append(ClipEntry(name, info["text"], seconds, path, audio.offset_data, audio.size, info))


def subset(corpus: Corpus, indices: Sequence[int]) -> Corpus:
    """A corpus of some of the clips."""
    return Corpus([corpus.entries[i] for i in indices], corpus.rate_hz, corpus.faults)
