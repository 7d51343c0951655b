"""Turns with speech: one user with its own level and background noise, background speakers, and noise bursts."""

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
from fobench_plugins.suites.conditions import speaker_under
from fobench_plugins.suites.duplex.families import Kind
from fobench_plugins.suites.duplex.lines import lines_of_speaker
from fobench_plugins.suites.scenario_builder import build_turn
from fobench_plugins.suites.scenario_spec import TurnSpec
from fobench_plugins.suites.spoken_qa.clip_archive import open_archive
from fobench_plugins.suites.spoken_qa.questions import Question, assign_speakers, read_questions

LEVELS_DB = (0.0, -6.0, -12.0)
SNRS_DB = (None, None, 20.0, 10.0)  # half of the users have no background noise
BACKGROUND_DB = (-6, -15)  # attenuation of background speakers relative to the user
NOISE_BURSTS: dict[str, tuple[int, int]] = {  # minimum and maximum duration, ms
    "burst": (150, 300),
    "clatter": (600, 1500),
    "babble": (1500, 3000),
    "hum": (1000, 2000),
}
LENGTHS: dict[str, tuple[int, int]] = {"murmur": (1500, 3000), "silence": (3000, 6000)}
# Names of random streams are part of the seeds of the published scenarios: a changed name changes their content.
RNG_STREAMS: dict[Kind, str] = {"question": "asked", "interrupt": "asked", "noise_burst": "racket"}
ROLES: dict[Kind, str] = {"request": "question", "noise_burst": "noise", "murmur": "noise", "silence": "noise"}


@dataclass(frozen=True, slots=True)
class SpeakerPool:
    """The speakers of a voice, and the questions assigned to each of them."""

    voice: str
    speakers: tuple[str, ...]
    questions: Mapping[str, Sequence[Question]]


@cache
def speaker_pool(voice: str, speakers: tuple[str, ...]) -> SpeakerPool:
    """The pool of a voice's `speakers`; () stands for the speakers of the shipped clips."""
    rendering, questions = open_archive(), read_questions()
    if voice == rendering.voice and not speakers:
        speaker_of = {name: clip.speaker for name, clip in rendering.clips.items()}
        speakers = tuple(sorted(set(speaker_of.values())))
    else:
        speaker_of = assign_speakers(questions, speakers)
    return SpeakerPool(
        voice, speakers, {name: [q for q in questions if speaker_of.get(q.id) == name] for name in speakers}
    )


class SpeakerAssignment:
    """`TurnFactory` with speech.

    `index` (the scenario's number in its category) and `seed` determine speaker, level and SNR; others may speak for the drawn
    speakers under a `condition`.
    """

    def __init__(self, pool: SpeakerPool, seed: int, index: int, condition: str = "") -> None:
        self._pool, self._seed, self._index, self._condition = pool, seed, index, condition
        self._calls: Counter[str] = Counter()
        self._turn_count = 0
        self.speaker = pool.speakers[index % len(pool.speakers)]
        rng = self._rng("room")
        self.level_db = LEVELS_DB[int(rng.integers(len(LEVELS_DB)))]
        self.snr_db = SNRS_DB[int(rng.integers(len(SNRS_DB)))]
        self.answers: tuple[str, ...] = ()  # accepted answers of the last question
        self.tags = {"voice": self._heard(self.speaker), "level": f"{self.level_db:g} dB", "snr": self._snr_tag()}

    def turn(self, kind: Kind, anchor: Anchor) -> Turn:
        self._turn_count += 1
        return build_turn(self._turn_spec(kind, anchor), self._seed + self._turn_count)

    def ms(self, low: int, high: int) -> int:
        return int(self._rng("ms").integers(low // 10, high // 10 + 1)) * 10

    def _turn_spec(self, kind: Kind, anchor: Anchor) -> TurnSpec:
        fields: dict[str, Any] = {"role": ROLES.get(kind, kind), "anchor": anchor, "level_db": self.level_db}
        rng = self._rng(RNG_STREAMS.get(kind, kind))
        if kind in ("question", "interrupt"):
            text = self._pick_question(rng)
            return TurnSpec(**fields, **self._speech_fields(text, self.speaker))
        if kind == "noise_burst":
            return TurnSpec(**fields, **self._noise_burst_fields(rng))
        if kind in LENGTHS:
            return TurnSpec(**fields, noise=kind, length_ns=_length(rng, *LENGTHS[kind]))
        self.answers = () if kind == "request" else self.answers
        speaker = self.speaker if kind != "background" else self._other_speaker(rng)
        if kind == "background":
            fields["level_db"] += int(rng.integers(BACKGROUND_DB[1], BACKGROUND_DB[0] + 1))
        own = lines_of_speaker(kind, speaker, self._pool.speakers)
        line = own[(self._index // len(self._pool.speakers) + self._calls[kind]) % len(own)]
        return TurnSpec(**fields, **self._speech_fields(line.say, speaker))

    def _speech_fields(self, text: str, speaker: str) -> dict[str, Any]:
        heard, voice = self._heard(speaker), self._pool.voice
        return {"say": text, "text": text, "speaker": heard, "voice": voice, "snr_db": self.snr_db}

    def _heard(self, speaker: str) -> str:
        return speaker_under(self._condition, speaker, self._pool.speakers)

    def _pick_question(self, rng: np.random.Generator) -> str:
        questions = self._pool.questions[self.speaker]
        question = questions[int(rng.integers(len(questions)))]
        self.answers = question.answers
        return question.text

    def _noise_burst_fields(self, rng: np.random.Generator) -> dict[str, Any]:
        kind = list(NOISE_BURSTS)[self._index % len(NOISE_BURSTS)]
        self.tags["noise"] = kind
        return {"noise": kind, "length_ns": _length(rng, *NOISE_BURSTS[kind])}

    def _other_speaker(self, rng: np.random.Generator) -> str:
        others = [name for name in self._pool.speakers if name != self.speaker] or [self.speaker]
        return others[int(rng.integers(len(others)))]

    def _snr_tag(self) -> str:
        return "quiet" if self.snr_db is None else f"{self.snr_db:g} dB"

    def _rng(self, stream: str) -> np.random.Generator:
        """A new generator for each use of a stream, so that a control draws the same values as its pair, whatever it
        leaves out.
        """
        self._calls[stream] += 1
        return np.random.default_rng(item_seed(self._seed, f"{stream}-{self._calls[stream]}"))


def _length(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(low // 10, high // 10 + 1)) * 10 * NS_PER_MS
