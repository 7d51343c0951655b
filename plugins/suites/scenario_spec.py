"""Specifications of scenarios before rendering, from a manifest, a scenario file or a generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fobench.api.scenario import Anchor, TurnExpect
from fobench.api.types import NS_PER_S
from fobench.assets import catalog

PATIENCE_NS = 20 * NS_PER_S
VOICE = "kokoro"  # default voice of turns to synthesize
SPEAKERS = catalog.stems("kokoro-evaluation-voices")  # its speakers who ask, which no training hears


@dataclass(frozen=True, slots=True)
class TurnSpec:
    """One turn.

    Its sound is one of: the file `path`, the text `say` synthesized by a speaker of a voice, a `noise` of `length_ns`.

    `level_db`: gain. `snr_db`: signal-to-noise ratio of added pink noise, None for no noise. `start_ns`, `end_ns`:
    bounds of the speech in the sound, if known.
    """

    path: Path | None = None
    text: str | None = None
    speaker: str | None = None
    role: str = "question"
    anchor: Anchor = field(default_factory=Anchor)
    start_ns: int | None = None
    end_ns: int | None = None
    say: str | None = None
    voice: str = VOICE
    noise: str | None = None
    length_ns: int = NS_PER_S
    level_db: float = 0.0
    snr_db: float | None = None


@dataclass(frozen=True, slots=True)
class ScenarioSpec:
    """One scenario. `where` is its location (file and line), for messages; `unused` are keys without a meaning."""

    where: str
    id: str
    turns: tuple[TurnSpec, ...]
    answers: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    family: str = "question"
    tags: Mapping[str, str] = field(default_factory=dict)
    patience_ns: int = PATIENCE_NS
    unused: tuple[str, ...] = ()
    asserts: tuple[str, ...] = ()
    expected: tuple[TurnExpect, ...] = ()
