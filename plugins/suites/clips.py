"""What suites share: seeds for single items, turns from audio files, and files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fobench import audio
from fobench.fetch import disk_errors
from fobench.scenario import Turn


def item_seed(seed: int, name: str) -> int:
    """A seed for one item: the same for the same suite seed and name, whatever else is in the suite."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:4], "big") >> 1


def turn(path: Path, **fields: Any) -> Turn:
    """The turn that a clean audio file makes: hashed, and its speech bounds measured unless given.

    Raises `FobenchError` for audio that cannot be used.
    """
    chunk = audio.load(path)
    start_ns, end_ns = audio.speech_bounds(chunk)
    found = {"sha256": audio.sha256(chunk.samples, chunk.rate_hz), "start_ns": start_ns, "end_ns": end_ns}
    return Turn(audio=str(path), **{**found, **{k: v for k, v in fields.items() if v is not None}})


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
