"""Shared by the suites: seeds of single items, turns from audio files, and atomically written cache files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fobench import audio
from fobench.api.scenario import Turn
from fobench.assets.files import disk_errors
from fobench.atomic_files import atomic_path


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """Properties of a clean audio file: SHA-256 of its samples, and the bounds of its speech in ns."""

    sha256: str
    start_ns: int
    end_ns: int


def item_seed(seed: int, name: str) -> int:
    """The seed of one item, a function of the suite's seed and the item's name only."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:4], "big") >> 1


def turn_from_audio(path: Path, **fields: Any) -> Turn:
    """A turn from a clean audio file, with its hash and its speech bounds, which are measured unless given in `fields`.

    Raises `FobenchError` for audio that cannot be used.
    """
    return Turn(audio=str(path), **{**asdict(audio_facts(path)), **{k: v for k, v in fields.items() if v is not None}})


def audio_facts(path: Path) -> AudioFacts:
    """Properties of a file, cached until the file changes. Raises `FobenchError` for audio that cannot be used."""
    stat = path.stat() if path.is_file() else None
    return _cached_facts(path, stat and (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=1024)
def _cached_facts(path: Path, _version: tuple[int, int] | None) -> AudioFacts:
    chunk = audio.load(path)
    return AudioFacts(audio.sha256(chunk.samples, chunk.rate_hz), *audio.speech_bounds(chunk))


def cached_file(path: Path, write: Callable[[Path], object]) -> Path:
    """`path`, created by `write(temporary)` if it does not exist.

    Concurrent processes each write their own file; the last one stays.
    """
    if not path.exists():
        with disk_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                write(temporary)
    return path
