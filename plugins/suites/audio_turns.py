"""Shared by the suites: seeds of single items, turns from audio files, and atomically written cache files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fobench.api.scenario import Turn
from fobench.assets.files import disk_errors
from fobench.atomic_files import atomic_path
from fobench.audio.facts import AudioFacts, audio_facts, may_be_silent
from fobench.errors import FobenchError


def item_seed(seed: int, name: str) -> int:
    """The seed of one item, a function of the suite's seed and the item's name only."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:4], "big") >> 1


def turn_from_audio(path: Path, **fields: Any) -> Turn:
    """A turn from a clean audio file, with its hash and its speech bounds, which are measured unless given in `fields`.

    Raises `FobenchError` for audio that cannot be used, and where nothing can be heard unless the turn's role allows it.
    """
    facts = audible_facts(path, fields.get("role", "question"))
    measured = {"sha256": facts.sha256, "start_ns": facts.start_ns, "end_ns": facts.end_ns}
    return Turn(audio=str(path), **{**measured, **{k: v for k, v in fields.items() if v is not None}})


def audible_facts(path: Path, role: str = "question") -> AudioFacts:
    """The facts of a file. Raises `FobenchError` as `turn_from_audio` does."""
    facts = audio_facts(path)
    if facts.is_silent and not may_be_silent(role):
        raise FobenchError(
            f"Nothing can be heard in audio file {path}: its loudest 10 ms are at {facts.loudest_dbfs:.0f} dBFS. Record it anew; "
            'a turn that is meant to be silent has the role "noise" or "background".'
        )
    return facts


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
