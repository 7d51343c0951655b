"""Clips by number, from shards and from the sources of `manifests`: indexed once, read at random.

Unreadable clips are skipped, counted and listed.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

from fobench.audio.decoding import mix_down, open_sound
from fobench.errors import FobenchError
from fobench.outside_files import lfs_pointer
from reference_model.train.data import manifests
from reference_model.train.data.manifests import SLACK_S, UNREADABLE, ClipEntry, checked_duration, checked_transcript
from reference_model.train.data.shards import AUDIO, INFO, check_end, decode_flac
from reference_model.train.data.shards import paths as shard_paths
from reference_model.train.engine.skipped_samples import SkippedSamples

Samples = npt.NDArray[np.float32]

SILENT = 1e-4  # peak below which a clip counts as silent
LOUDEST = 8.0  # peak above which samples cannot be audio, which lies within about [-1, 1]


@dataclass(slots=True)
class Corpus:
    """Clips in a fixed order. `faults` collects the clips that could not be read."""

    entries: list[ClipEntry]
    rate_hz: int
    faults: SkippedSamples = field(default_factory=SkippedSamples)

    @classmethod
    def open(cls, sources: Iterable[Path], rate_hz: int, split: str = "train") -> Corpus:
        """Opens folders of shards, or any source that `manifests` reads (all "train", unless they name a split).

        Raises FobenchError for a source that is neither, and where no clip of the split is left.
        """
        faults, entries, sources = SkippedSamples(), [], list(sources)
        for source in sources:
            is_shards = source.is_dir() and any(source.glob("*.tar"))
            entries += _shards(source, split, faults) if is_shards else manifests.entries(source, split, faults)
        entries = distinct(entries)
        if not entries:
            skipped = f" {len(faults)} were skipped:\n{faults.describe()}" if len(faults) else ""
            raise FobenchError(f"No clip of split {split} in {', '.join(map(str, sources))}.{skipped}")
        return cls(entries, rate_hz, faults)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def hours(self) -> float:
        return sum(entry.seconds for entry in self.entries) / 3600

    def samples(self, index: int) -> Samples | None:
        """Returns the audio of a clip [T] at `rate_hz`; None, and an entry in `faults`, where it cannot be read."""
        entry = self.entries[index]
        try:
            return _read(entry, self.rate_hz)
        except UNREADABLE as error:
            self.faults.add(f"{entry.path.name}/{entry.id}", str(error))
            return None


def distinct(entries: Iterable[ClipEntry]) -> list[ClipEntry]:
    """Returns the clips; one with the id of another clip, from another source, gets an id of its own."""
    first: dict[str, ClipEntry] = {}
    found = []
    for entry in entries:
        name, number = entry.id, 1
        while not _is_same(first.setdefault(name, entry), entry):
            number += 1
            name = f"{entry.id}#{number}"
        found.append(entry if name == entry.id else replace(entry, id=name))
    return found


def _is_same(one: ClipEntry, other: ClipEntry) -> bool:
    return (one.path, one.offset, one.start, one.text) == (other.path, other.offset, other.start, other.text)


def _read(entry: ClipEntry, rate_hz: int) -> Samples:
    """Reads mono samples at `rate_hz`. Raises any of `UNREADABLE` with the reason."""
    samples, rate = _sound(entry)
    if abs(len(samples) / rate - entry.seconds) > SLACK_S:
        raise ValueError(f"lasts {len(samples) / rate:.2f} s, but {entry.seconds:.2f} s are stated")
    peak = float(np.abs(samples).max(initial=0.0))
    if not np.isfinite(peak):
        raise ValueError("contains values that are not finite")
    if not SILENT <= peak <= LOUDEST:
        raise ValueError(f"is silent or not audio: its peak is {peak:.2g} of full scale")
    if rate != rate_hz:
        samples = soxr.resample(samples, rate, rate_hz)
    return np.ascontiguousarray(samples, dtype=np.float32)


def _sound(entry: ClipEntry) -> tuple[Samples, int]:
    """Reads (samples [T], the mean of all channels; their rate, Hz), as stored."""
    if entry.size:
        with entry.path.open("rb") as file:
            file.seek(entry.offset)
            chunk = decode_flac(file.read(entry.size))
        return chunk.samples, chunk.rate_hz
    with open_sound(manifests.hub_audio(entry) or entry.path) as sound:
        first = round(entry.start * sound.samplerate)
        sound.seek(first)
        blocks = [*sound.blocks(round(entry.seconds * sound.samplerate))]
        channels = np.concatenate([np.zeros((0, sound.channels), np.float32), *blocks])  # [T, C]
        return mix_down(channels), sound.samplerate


def _shards(folder: Path, split: str, faults: SkippedSamples) -> list[ClipEntry]:
    return [entry for path in shard_paths(folder, split) for entry in _shard(path, faults)]


def _shard(path: Path, faults: SkippedSamples) -> list[ClipEntry]:
    """Reads the clips of one tar; of a truncated one, those before the break."""
    entries: list[ClipEntry] = []
    audio: tarfile.TarInfo | None = None
    try:
        with path.open("rb") as file:
            if lfs_pointer(file.read(200)):
                raise OSError("it is a Git LFS pointer, not the file itself; fetch it: git lfs pull")
        with tarfile.open(path, mode="r:") as tar:
            for member in tar:
                if member.name.endswith(AUDIO):
                    _report_unpaired(path, audio, faults)
                    audio = member
                elif member.name.endswith(INFO):
                    if audio is not None and _stem(audio) != _stem(member):
                        _report_unpaired(path, audio, faults)
                        audio = None
                    _append(entries, path, tar, audio, member, faults)
                    audio = None
            _report_unpaired(path, audio, faults)
            check_end(path, tar.offset)
    except (tarfile.TarError, EOFError, OSError) as error:
        faults.add(path.name, f"broken tar: {error}")
    return entries


def _report_unpaired(path: Path, audio: tarfile.TarInfo | None, faults: SkippedSamples) -> None:
    """Lists audio without metadata in the faults."""
    if audio is not None:
        faults.add(f"{path.name}/{_stem(audio)}", f"has no {INFO}")


def _stem(member: tarfile.TarInfo) -> str:
    return member.name.removesuffix(AUDIO).removesuffix(INFO)


def _append(
    entries: list[ClipEntry],
    path: Path,
    tar: tarfile.TarFile,
    audio: tarfile.TarInfo | None,
    metadata: tarfile.TarInfo,
    faults: SkippedSamples,
) -> None:
    name = _stem(metadata)
    try:
        if audio is None:
            raise ValueError(f"has no {AUDIO}")
        file = tar.extractfile(metadata)
        info = json.loads(file.read()) if file else {}
        seconds = checked_duration(info["samples"] / info["rate_hz"])
        checked_transcript(info["text"])
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        faults.add(f"{path.name}/{name}", f"lacks {error}" if isinstance(error, KeyError) else str(error))
        return
    entries.append(ClipEntry(name, info["text"], seconds, path, audio.offset_data, audio.size, info))


def subset(corpus: Corpus, indices: Sequence[int]) -> Corpus:
    """Returns a corpus of some of the clips."""
    return Corpus([corpus.entries[i] for i in indices], corpus.rate_hz, corpus.faults)
