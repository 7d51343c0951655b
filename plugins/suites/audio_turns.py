"""What suites share: seeds for single items, turns from audio files, and files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fobench import audio
from fobench.api.scenario import Turn
from fobench.assets.files import disk_errors


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What is known of a clean audio file: a hash of its sound, and the bounds of its speech."""

    sha256: str
    start_ns: int
    end_ns: int


def item_seed(seed: int, name: str) -> int:
    """A seed for one item: the same for the same suite seed and name, whatever else is in the suite."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:4], "big") >> 1


def turn(path: Path, **fields: Any) -> Turn:
    """The turn that a clean audio file makes: hashed, and its speech bounds measured unless given.

    Raises `FobenchError` for audio that cannot be used.
    """
    return Turn(audio=str(path), **{**asdict(sound(path)), **{k: v for k, v in fields.items() if v is not None}})


def sound(path: Path) -> AudioFacts:
    """Decoded once, however many turns it makes, unless the file changes. Raises `FobenchError` for audio that cannot be used."""
    stat = path.stat() if path.is_file() else None
    return _sound(path, stat and (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=1024)
def _sound(path: Path, _version: tuple[int, int] | None) -> AudioFacts:
    chunk = audio.load(path)
    return AudioFacts(audio.sha256(chunk.samples, chunk.rate_hz), *audio.speech_bounds(chunk))


def made(path: Path, write: Callable[[Path], object]) -> Path:
    """`path`, written by `write(partial)` if it is not there. Processes may race: each writes its own, the last one stays."""
    if not path.exists():
        with disk_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.{os.getpid()}.part")
            try:
                write(partial)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
    return path
