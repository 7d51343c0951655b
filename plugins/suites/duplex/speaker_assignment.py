"""The cast that speaks: one user with a level and a room of its own, others further away, and noises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from fobench.api.scenario import Anchor, Turn
from fobench.api.types import NS_PER_MS
from fobench_plugins.suites.audio_turns import item_seed
from fobench_plugins.suites.duplex.families import Kind
from fobench_plugins.suites.duplex.lines import spoken_by
from fobench_plugins.suites.scenario_builder import sounding
from fobench_plugins.suites.scenario_spec import TurnSpec
from fobench_plugins.suites.spoken_qa.clip_archive import unpacked
from fobench_plugins.suites.spoken_qa.questions import Question, cast, read

LEVELS_DB = (0.0, -6.0, -12.0)
SNRS_DB = (None, None, 20.0, 10.0)  # half of the users speak in quiet
AWAY_DB = (-6, -15)  # how much less is heard of those who speak further away
RACKETS: dict[str, tuple[int, int]] = {  # shortest and longest, ms
    "burst": (150, 300),
    "clatter": (600, 1500),
    "babble": (1500, 3000),
    "hum": (1000, 2000),
}
LENGTHS: dict[str, tuple[int, int]] = {"murmur": (1500, 3000), "silence": (3000, 6000)}
ROLES: dict[Kind, str] = {"request": "question", "racket": "noise", "murmur": "noise", "silence": "noise"}


@dataclass(frozen=True, slots=True)
class SpeakerPool:
    """The speakers of a voice, and the questions that each of them asks."""

    voice: str
    speakers: tuple[str, ...]
    questions: Mapping[str, Sequence[Question]]


@cache
def troupe(voice: str, speakers: tuple[str, ...]) -> SpeakerPool:
    """`speakers`: () for those of the shipped renderings."""
    rendering, every = unpacked(), read()
    if voice == rendering.voice and not speakers:
        who = {name: clip.speaker for name, clip in rendering.clips.items()}
        speakers = tuple(sorted(set(who.values())))
    else:
        who = cast(every, speakers)
    return SpeakerPool(voice, speakers, {name: [q for q in every if who.get(q.id) == name] for name in speakers})


class SpeakerAssignment:
    """The cast of one scenario: `place` (its number in its family) and `seed` decide who speaks, how loud and in what noise."""

    def __init__(self, voices: SpeakerPool, seed: int, place: int) -> None:
        self._voices, self._seed, self._place = voices, seed, place
        self._calls: Counter[str] = Counter()
        self._made = 0
        self.speaker = voices.speakers[place % len(voices.speakers)]
        draw = self._draw("room")
        self.level_db = LEVELS_DB[int(draw.integers(len(LEVELS_DB)))]
        self.snr_db = SNRS_DB[int(draw.integers(len(SNRS_DB)))]
        self.answers: tuple[str, ...] = ()  # to the last question asked
        self.tags = {"voice": self.speaker, "level": f"{self.level_db:g} dB", "snr": self._room()}

    def turn(self, kind: Kind, anchor: Anchor) -> Turn:
        self._made += 1
        return sounding(self._spoken(kind, anchor), self._seed + self._made)

    def ms(self, low: int, high: int) -> int:
        return int(self._draw("ms").integers(low // 10, high // 10 + 1)) * 10

    def _spoken(self, kind: Kind, anchor: Anchor) -> TurnSpec:
        fields: dict[str, Any] = {"role": ROLES.get(kind, kind), "anchor": anchor, "level_db": self.level_db}
        draw = self._draw("asked" if kind in ("question", "interrupt") else kind)
        if kind in ("question", "interrupt"):
            asked = self._asked(draw)
            return TurnSpec(**fields, **self._said(asked, self.speaker))
        if kind == "racket":
            return TurnSpec(**fields, **self._racket(draw))
        if kind in LENGTHS:
            return TurnSpec(**fields, noise=kind, length_ns=_length(draw, *LENGTHS[kind]))
        self.answers = () if kind == "request" else self.answers
        speaker = self.speaker if kind != "background" else self._other(draw)
        if kind == "background":
            fields["level_db"] += int(draw.integers(AWAY_DB[1], AWAY_DB[0] + 1))
        own = spoken_by(kind, speaker, self._voices.speakers)
        line = own[(self._place // len(self._voices.speakers) + self._calls[kind]) % len(own)]
        return TurnSpec(**fields, **self._said(line.say, speaker))

    def _said(self, text: str, speaker: str) -> dict[str, Any]:
        return {"say": text, "text": text, "speaker": speaker, "voice": self._voices.voice, "snr_db": self.snr_db}

    def _asked(self, draw: np.random.Generator) -> str:
        questions = self._voices.questions[self.speaker]
        question = questions[int(draw.integers(len(questions)))]
        self.answers = question.answers
        return question.text

    def _racket(self, draw: np.random.Generator) -> dict[str, Any]:
        kind = list(RACKETS)[self._place % len(RACKETS)]
        self.tags["noise"] = kind
        return {"noise": kind, "length_ns": _length(draw, *RACKETS[kind])}

    def _other(self, draw: np.random.Generator) -> str:
        others = [name for name in self._voices.speakers if name != self.speaker] or [self.speaker]
        return others[int(draw.integers(len(others)))]

    def _room(self) -> str:
        return "quiet" if self.snr_db is None else f"{self.snr_db:g} dB"

    def _draw(self, what: str) -> np.random.Generator:
        """A stream for each use of `what`: a control draws as its pair does, whatever it leaves out."""
        self._calls[what] += 1
        return np.random.default_rng(item_seed(self._seed, f"{what}-{self._calls[what]}"))


def _length(draw: np.random.Generator, low: int, high: int) -> int:
    return int(draw.integers(low // 10, high // 10 + 1)) * 10 * NS_PER_MS
