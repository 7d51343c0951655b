"""The state of a conversation with the cascade: its timing, the user's turn, the reply."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from fobench.api.thoughts import ThoughtFilter
from fobench.api.types import AudioChunk, Samples
from fobench_plugins.systems.cascade.clause_splitter import ClauseSplitter, SpokenClauses
from reference_model.turn_taking.energy_vad import PeakLevel
from reference_model.turn_taking.silero_vad import RATE_HZ


@dataclass(frozen=True, slots=True)
class CascadeTiming:
    """The durations after which the cascade acts, in windows of 32 ms."""

    onset: int  # speech that opens a turn
    eager: int  # silence after which transcription starts, before the turn is over
    end: int  # end-of-turn timeout: silence that ends the turn
    unfinished: int  # end-of-turn timeout after an incomplete sentence
    looks: tuple[int, ...]  # partial-hypothesis checks: speech over a reply after which its words are checked
    barge_in: int  # forced barge-in: speech that stops a reply whatever the words are
    near_db: float  # near-field margin, dB: how much softer than the user a talker may be
    speculate: bool = True  # whether a reply is begun before the turn is known to be over


@dataclass(slots=True)
class UserTurn:
    """The user's turn: its windows, from shortly before the onset."""

    windows: list[Samples] = field(default_factory=list)
    speech: int = 0  # windows of speech in it
    silence: int = 0  # windows of silence at its end
    loudest: PeakLevel = field(default_factory=PeakLevel)
    transcript: str | None = None  # of all windows; None after further speech
    looks: int = 0  # partial-hypothesis checks so far
    look_due: bool = False  # whether a check is due
    worded: bool = False  # whether a check found words
    ended: bool = False

    @property
    def audio(self) -> AudioChunk:
        return AudioChunk(np.concatenate(self.windows), RATE_HZ)

    def hear(self, window: Samples, speech: bool) -> None:
        """Append a window that the detector has classified."""
        self.windows.append(window)
        if not speech:
            self.silence += 1
            return
        self.speech, self.silence, self.transcript, self.ended = self.speech + 1, 0, None, False
        self.loudest.push(window)


@dataclass(slots=True)
class CascadeReply:
    """A reply: the token stream, the synthesized clauses, and how much was heard."""

    number: int
    tokens: Iterator[str]
    thoughts: ThoughtFilter = field(default_factory=ThoughtFilter)
    splitter: ClauseSplitter = field(default_factory=ClauseSplitter)
    spoken: SpokenClauses = field(default_factory=SpokenClauses)
    clause: str | None = None  # complete, to be synthesized next
    audio: Iterator[AudioChunk] | None = None  # of the clause that is being synthesized
    begun: bool = False  # whether a token has been generated
    generated: bool = False  # whether the text is complete
    ended: bool = False  # whether the audio is complete, too
    heard: int = 0  # samples

    def rewind(self) -> None:
        """Discard the audio that was not heard: its text is synthesized again."""
        text, rest = self.spoken.heard(self.heard), self.spoken.unheard(self.heard) + (self.clause or "")
        self.spoken = SpokenClauses([(text + " ", self.heard)])
        self.clause = rest if rest.strip() else None
        self.audio, self.ended = None, False
