"""Rule-based turn-taking policy: voice activity, loudness, the echo of the system's own voice, and rules on partial transcripts.

The policy is where a session's microphone audio enters. It cancels the echo, runs the voice activity detector, and reports what
each window means for turn-taking. It also filters the predictions of the state head, by what the head cannot know: that a talker
is further away than the user; that the sound is an echo; that words over a reply are a backchannel, or addressed to somebody
else; that they only ask for silence; that a sentence is not complete. These rules need an adapter with a transcript (CTC).
Without them (`TurnTakingSettings.manners`) a reply stops for any sound that lasts, and every prediction is accepted, as in the
published system.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np

from fobench.api.types import AudioChunk, Samples
from reference_model.speech_input.bpe_units import MARKS
from reference_model.turn_taking import lexical_rules
from reference_model.turn_taking.echo_canceller import EchoCanceller
from reference_model.turn_taking.energy_vad import NEARBY, NearFieldGate, PeakLevel
from reference_model.turn_taking.settings import TurnTakingSettings
from reference_model.turn_taking.silero_vad import RATE_HZ
from reference_model.turn_taking.speech_activity import SpeechActivity, VoiceActivityDetector
from reference_model.turn_taking.state_machine import Signal, TurnAction

UNCERTAIN = 2  # words, and checks of the words, up to which a partial transcript may still be revised
MISHEARD = 2  # words beside "stop" that may be recognition errors of "please"


class VoiceEvent(Enum):
    """What a window of the microphone means for turn-taking."""

    ONSET = auto()  # the window with which a burst of speech is long enough to open a turn
    SPEECH = auto()  # any other window of speech
    SILENCE = auto()
    TIMEOUT = auto()  # the window of silence with which a turn ends by rule


@dataclass(slots=True)
class TurnTakingPolicy:
    """The turn-taking state of one session. Without a detector all audio is speech, and no window is silent."""

    settings: TurnTakingSettings
    detector: VoiceActivityDetector | None = None
    overlapping: bool = False  # whether the current user turn began over a reply
    activity: SpeechActivity = field(init=False)
    _checks: int = 0  # of the words of the current turn
    _position: int = 0  # samples received from the microphone
    _chunk: int = 0  # samples in the last chunk
    _peak: PeakLevel = field(default_factory=PeakLevel)  # of the current turn
    _windows: deque[Samples] = field(default_factory=lambda: deque(maxlen=NEARBY))
    _echo: EchoCanceller = field(default_factory=lambda: EchoCanceller(RATE_HZ))
    _gate: NearFieldGate = field(init=False)

    def __post_init__(self) -> None:
        self.activity = SpeechActivity(self.settings.release)
        self._gate = NearFieldGate(self.settings.near_db)

    # ---- the microphone and the playback -------------------------------------------------------------------------------

    def push(self, samples: Samples) -> Iterator[tuple[Samples, VoiceEvent]]:
        """Microphone samples [N] -> each complete window without echo, and what it means for turn-taking."""
        cleaned = self._echo.clean(samples, self._position)
        self._position, self._chunk = self._position + len(samples), len(samples)
        if self.detector is None:
            yield cleaned, VoiceEvent.ONSET
            return
        for window, probability in self.detector.push(cleaned):
            yield window, self.observe(window, probability >= self.settings.speech_probability)

    def observe(self, window: Samples, speech: bool) -> VoiceEvent:
        """Count a window [512] that the detector has classified."""
        settings, activity = self.settings, self.activity
        self._windows.append(window)
        activity.push(speech)
        if speech:
            self._peak.push(window)
            return VoiceEvent.ONSET if activity.speech == settings.onset else VoiceEvent.SPEECH
        timeout = settings.turn_end != "head" and activity.silence in (settings.end, settings.unfinished)
        return VoiceEvent.TIMEOUT if timeout else VoiceEvent.SILENCE

    def play(self, reply: int, audio: AudioChunk) -> None:
        """Register audio of a reply that is going to be played."""
        self._echo.play(reply, audio)

    def heard(self, reply: int, samples: int, rate_hz: int) -> None:
        """Register how many samples of a reply will have been played by the end of the next chunk."""
        self._echo.heard(reply, samples, rate_hz, self._position + self._chunk, since=self._chunk)

    def stop(self, samples: int, rate_hz: int) -> None:
        """Register that nothing of the reply is played after `samples`."""
        self._echo.stop(samples, rate_hz)

    # ---- decisions -----------------------------------------------------------------------------------------------------

    def follow(self, actions: Collection[TurnAction], *, overlapping: bool) -> None:
        """Take account of a transition. `overlapping`: the turn that it may begin is spoken over a reply."""
        if TurnAction.REPLY in actions:
            self._gate.answered(self._peak)
        if TurnAction.BEGIN_TURN in actions:
            self.overlapping, self._checks, self._peak = overlapping, 0, PeakLevel()
            for window in list(self._windows)[-self.settings.onset :]:  # the windows of speech that opened the turn
                self._peak.push(window)

    def rules_apply(self, text: str | None) -> bool:
        """Whether the rules on words and loudness hold for a turn with this transcript (None: the adapter has none)."""
        return self.settings.manners and text is not None

    @property
    def silent(self) -> bool:
        """Whether the silence is long enough for a prediction of the state head to be accepted."""
        return self.detector is None or self.activity.silence >= self.settings.heed

    @property
    def near(self) -> bool:
        """Whether the talker of the current turn may be the user, by loudness."""
        return self._gate.of(self._peak)

    def barge_in(self, text: str | None) -> Signal | None:
        """The signal that speech over a reply calls for, by its partial transcript (None: the adapter has none); None: none yet."""
        settings, speech = self.settings, self.activity.speech
        if settings.barge_in_at == "end" or self.activity.silence:
            return None
        if text is None or not self.rules_apply(text):
            return Signal.INTERRUPT if speech >= settings.barge_in else None
        checks = sum(speech >= windows for windows in settings.looks)
        if checks > self._checks:
            self._checks = checks
            recent = np.concatenate(self._windows)
            if self._echo.recognize(recent, self._position - len(recent)):
                return Signal.NO_INPUT
            if self.near and lexical_rules.claiming(text, min(checks, UNCERTAIN)):
                return Signal.INTERRUPT
        forced = speech >= settings.insist and self.near and bool(lexical_rules.words(text))
        return Signal.INTERRUPT if forced else None

    def accept(self, predicted: Signal, text: str | None, end_logprob: float) -> tuple[Signal, ...]:
        """The signals that a predicted end of the turn, ANSWER or IGNORE, is accepted as; (): it is not accepted yet.

        `text`: the transcript so far, None of an adapter without one. `end_logprob`: log-probability, by the LLM, of the turn's
        end as the next token.
        """
        if text is None or not self.rules_apply(text):
            return (predicted,)
        if predicted is Signal.IGNORE:
            return () if self._addressed(text) else (predicted,)
        if not self.near:
            return (Signal.NO_INPUT,)
        if self.overlapping and lexical_rules.stopping(text, MISHEARD):
            return (Signal.INTERRUPT, Signal.IGNORE)
        if self.overlapping and (self._backchannel(text) or lexical_rules.calling(text)):
            return (Signal.IGNORE,)
        return (predicted,) if self.activity.silence >= self._required_silence(text, end_logprob) else ()

    def answerable(self, text: str | None, end_logprob: float) -> bool:
        """Whether a turn with this transcript, if nothing is added, will soon get an answer."""
        if not self.rules_apply(text):
            return True
        return self.near and self._required_silence(text or "", end_logprob) < self.settings.unfinished

    def _required_silence(self, text: str, end_logprob: float) -> int:
        """The silence, in windows, after which a turn with this transcript is over."""
        if lexical_rules.unfinished(text) or end_logprob < self.settings.complete:
            return self.settings.unfinished
        return 0 if text.endswith(MARKS) else self.settings.unmarked

    def _backchannel(self, text: str) -> bool:
        """Whether the words need no answer: a backchannel, or one or two words that may be a misrecognized one."""
        few = len(lexical_rules.words(text)) <= UNCERTAIN
        return lexical_rules.listening(text) or (few and not lexical_rules.claiming(text, 1))

    def _addressed(self, text: str) -> bool:
        """Whether a turn must not be ignored, whatever the head predicts: three words or more of the user's, over no reply."""
        enough = len(lexical_rules.words(text)) > 2
        return not self.overlapping and self.near and enough and not lexical_rules.listening(text)
