"""Manners beside the state head: what loudness, the own voice, and the words that are spelt say about whose turn it is.

The state head judges chunk by chunk what it has learnt to. Rules keep it from what it cannot know: that others speak, further away
than the user; that the sound is its own; that words over a reply are a listener's, or call somebody else; that they ask for silence and for nothing
else; that a sentence is not complete. They apply to adapters that spell. Without manners (`TurnTakingSettings.manners`) a reply stops for every sound
that lasts, and every verdict stands, as in the published system.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from fobench.api.types import AudioChunk, Samples
from reference_model.speech_input.bpe_units import MARKS
from reference_model.turn_taking import lexical_rules
from reference_model.turn_taking.echo_canceller import EchoCanceller
from reference_model.turn_taking.energy_vad import NEARBY, NearFieldGate, PeakLevel
from reference_model.turn_taking.settings import TurnTakingSettings
from reference_model.turn_taking.state_machine import Signal

SURE = 2  # words, and looks at them, up to which what is spelt may be something else
MISHEARD = 2  # words beside "stop" that may be meant as "please"


@dataclass(slots=True)
class TurnTakingPolicy:
    """What is known of who speaks. `over`: the turn that is heard began over a reply."""

    duplex: TurnTakingSettings
    own: EchoCanceller
    loudest: PeakLevel = field(default_factory=PeakLevel)
    over: bool = False
    looks: int = 0  # at the words of this turn
    position: int = 0  # samples of the microphone
    chunk: int = 0  # samples that came last
    windows: deque[Samples] = field(default_factory=lambda: deque(maxlen=NEARBY))
    nearness: NearFieldGate = field(init=False)

    def __post_init__(self) -> None:
        self.nearness = NearFieldGate(self.duplex.near_db)

    def clean(self, samples: Samples) -> Samples:
        """The microphone's next samples, without the own voice as far as that is known."""
        cleaned = self.own.clean(samples, self.position)
        self.position, self.chunk = self.position + len(samples), len(samples)
        return cleaned

    def heard(self, reply: int, samples: int, rate_hz: int) -> None:
        """So many samples of a reply were heard by the end of the chunk that comes next."""
        self.own.heard(reply, samples, rate_hz, self.position + self.chunk, since=self.chunk)

    def play(self, reply: int, audio: AudioChunk) -> None:
        self.own.play(reply, audio)

    def push(self, window: Samples, speech: bool) -> None:
        """A window of the voice activity detector."""
        self.windows.append(window)
        if speech:
            self.loudest.push(window)

    def open(self, over: bool) -> None:
        """A user turn begins, with the windows of speech that open one."""
        self.over, self.looks, self.loudest = over, 0, PeakLevel()
        for window in list(self.windows)[-self.duplex.onset :]:
            self.loudest.push(window)

    def answered(self) -> None:
        """The turn was the user's."""
        self.nearness.answered(self.loudest)

    @property
    def near(self) -> bool:
        """Whether it may be the user who speaks in this turn."""
        return self.nearness.of(self.loudest)

    def interrupts(self, text: str | None, speech: int) -> Signal | None:
        """What `speech` windows of sound over a reply, of which `text` is understood so far, call for; None: wait and see."""
        if text is None or not self.duplex.manners:
            return Signal.INTERRUPT if speech >= self.duplex.barge_in else None
        due = sum(speech >= windows for windows in self.duplex.looks)
        if due > self.looks:
            self.looks = due
            recent = np.concatenate(self.windows)
            if self.own.recognise(recent, self.position - len(recent)):
                return Signal.LOST
            if self.near and lexical_rules.claiming(text, min(due, SURE)):
                return Signal.INTERRUPT
        insists = speech >= self.duplex.insist and self.near and bool(lexical_rules.words(text))
        return Signal.INTERRUPT if insists else None

    def verdict(self, signal: Signal, text: str | None, ends: float, silence: int) -> tuple[Signal, ...]:
        """A verdict on a turn of the user's as far as it can stand; (): not yet.

        `text` as far as understood, None of an adapter that does not spell; `ends`: natural log of the chance that the LLM gives
        to its being complete; `silence`: windows of it since.
        """
        if not self.duplex.manners or text is None:
            return (signal,)
        if signal is Signal.IGNORE:
            return () if self._asked(text) else (signal,)
        if not self.near:
            return (Signal.LOST,)
        if self.over and lexical_rules.stopping(text, MISHEARD):
            return (Signal.INTERRUPT, Signal.IGNORE)
        if self.over and (self._murmured(text) or lexical_rules.calling(text)):
            return (Signal.IGNORE,)
        return (signal,) if silence >= self._patience(text, ends) else ()

    def _patience(self, text: str, ends: float) -> int:
        """The silence, in windows, before a turn of these words is over."""
        if lexical_rules.unfinished(text) or ends < self.duplex.complete:
            return self.duplex.unfinished
        return 0 if text.endswith(MARKS) else self.duplex.unmarked

    def _murmured(self, text: str) -> bool:
        """Whether nothing was said that wants an answer: a listener's words, or one or two that may be those, misheard."""
        return lexical_rules.listening(text) or (
            len(lexical_rules.words(text)) < SURE + 1 and not lexical_rules.claiming(text, 1)
        )

    def _asked(self, text: str) -> bool:
        """Whether a turn is not to be ignored, whatever the head says: words of the user's, with nobody speaking but them."""
        return not self.over and self.near and len(lexical_rules.words(text)) > 2 and not lexical_rules.listening(text)
