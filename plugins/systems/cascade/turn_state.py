"""What a conversation with the cascade is made of: when it acts, what it hears of the user, what it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from fobench.api.types import AudioChunk, Samples
from fobench_plugins.systems.cascade.clause_splitter import ClauseSplitter, SpokenClauses
from reference_model.turn_taking.energy_vad import PeakLevel
from reference_model.turn_taking.silero_vad import RATE_HZ


@dataclass(frozen=True, slots=True)
class CascadeTiming:
    """When the cascade acts, in windows of 32 ms."""

    onset: int  # speech that opens a turn
    eager: int  # silence after which transcription starts, in case the turn has ended
    end: int  # silence that ends the turn
    unfinished: int  # ... whose words leave a sentence open
    looks: tuple[int, ...]  # speech over a reply after which its words are looked at
    barge_in: int  # speech that stops a reply whatever its words are
    near_db: float  # how much softer than the user what is still the user may be


@dataclass(slots=True)
class UserTurn:
    """What is being heard of the user: windows since shortly before the onset."""

    windows: list[Samples] = field(default_factory=list)
    speech: int = 0  # windows of speech in it
    silence: int = 0  # windows of silence at its end
    loudest: PeakLevel = field(default_factory=PeakLevel)
    transcript: str | None = None  # of everything so far; None once more was said
    looks: int = 0  # at its words while it came over a reply
    look_due: bool = False
    worded: bool = False  # whether a look found words
    ended: bool = False

    @property
    def audio(self) -> AudioChunk:
        return AudioChunk(np.concatenate(self.windows), RATE_HZ)

    def hear(self, window: Samples, speech: bool) -> None:
        self.windows.append(window)
        if not speech:
            self.silence += 1
            return
        self.speech, self.silence, self.transcript, self.ended = self.speech + 1, 0, None, False
        self.loudest.push(window)


@dataclass(slots=True)
class CascadeReply:
    """What is being said: the text stream, and what has been voiced and heard of it."""

    number: int
    tokens: Iterator[str]
    cutter: ClauseSplitter = field(default_factory=ClauseSplitter)
    spoken: SpokenClauses = field(default_factory=SpokenClauses)
    clause: str | None = None  # whole, to be voiced next
    begun: bool = False  # a token has been generated
    generated: bool = False  # the text is complete
    ended: bool = False  # ... and voiced
    heard: int = 0  # samples

    def go_back(self) -> None:
        """Takes back what was made and not heard: it is to be voiced again."""
        text, rest = self.spoken.heard(self.heard), self.spoken.unheard(self.heard) + (self.clause or "")
        self.spoken = SpokenClauses([(text + " ", self.heard)])
        self.clause = rest if rest.strip() else None
        self.ended = False
