"""What a harness needs to know of an audio file before it is played: its hash, its speech and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from fobench.api.scenario import Scenario
from fobench.api.types import AudioChunk
from fobench.audio import AUDIBLE_DBFS, audible_bounds, frame_levels, sha256, speech_bounds, without_offset
from fobench.audio.limits import SILENT_DBFS
from fobench.console import counted
from fobench.errors import FobenchError

NOTE_SILENT = "nothing can be heard in it"
NOTE_QUIET = f"it is very quiet: nothing lasts 30 ms above {AUDIBLE_DBFS:g} dBFS, so that all of it counts as speech"
LISTED = 3  # scenarios that a note names


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """Properties of an audio file: SHA-256 of its samples, bounds of its speech, its duration, the level of its loudest 10 ms.

    `notes`: what a user must know of it, as ends of sentences.
    """

    sha256: str
    start_ns: int
    end_ns: int
    duration_ns: int
    loudest_dbfs: float
    notes: tuple[str, ...] = ()

    @property
    def is_silent(self) -> bool:
        return self.loudest_dbfs < SILENT_DBFS


def audio_facts(path: Path) -> AudioFacts:
    """Properties of a file, cached until the file changes. Raises `FobenchError` for audio that cannot be used."""
    stat = path.stat() if path.is_file() else None
    return _cached_facts(path, stat and (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=1 << 14)
def _cached_facts(path: Path, _version: tuple[int, int] | None) -> AudioFacts:
    from fobench.audio.decoding import decode  # here, because `fobench --help` reads no audio

    decoded = decode(path)
    chunk = AudioChunk(np.clip(decoded.samples, -1.0, 1.0, out=decoded.samples), decoded.rate_hz)
    samples = without_offset(chunk.samples)
    loudest = float(frame_levels(samples, chunk.rate_hz).max())
    notes = list(decoded.notes)
    if loudest < SILENT_DBFS:
        notes.append(NOTE_SILENT)
    elif audible_bounds(samples, chunk.rate_hz) is None:
        notes.append(NOTE_QUIET)
    return AudioFacts(
        sha256(chunk.samples, chunk.rate_hz), *speech_bounds(chunk), chunk.duration_ns, loudest, tuple(notes)
    )


def audio_notes(scenarios: Iterable[Scenario]) -> list[str]:
    """A sentence for each kind of flaw in the audio of the scenarios, naming the first few; what cannot be read is left out.

    A turn that is meant to be silent (`may_be_silent`) has none.
    """
    found: dict[str, dict[str, None]] = {}
    for scenario in scenarios:
        for turn in scenario.turns:
            try:
                facts = audio_facts(Path(turn.audio))
            except (FobenchError, OSError, ValueError):
                continue  # the scenario fails, and its failure says why
            for note in facts.notes:
                if not (note in (NOTE_SILENT, NOTE_QUIET) and may_be_silent(turn.role)):
                    found.setdefault(note, {})[scenario.id] = None
    return [f"Audio of {_listed([*names])}: {note}." for note, names in found.items()]


def may_be_silent(role: str) -> bool:
    """Whether a turn of this role may hold nothing that can be heard: one that is not speech to the system."""
    return role in ("noise", "background")


def _listed(names: list[str]) -> str:
    rest = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {counted(rest, 'more scenario')}" if rest > 0 else "")
