"""A client that takes the user's turns itself, by a voice activity detector, as push-to-talk and client-VAD apps do.

Audio is sent from a little before the user's onset until the turn has ended; then it is committed, and a reply is asked for. An
onset over a reply cancels it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal

from fobench.api.live import LiveCall
from fobench.api.types import AudioChunk, Event, EventKind
from fobench.assets import store
from fobench.audio.stream_resampler import StreamResampler
from fobench.audio.wire_format import AudioFormat
from fobench.errors import PrerequisiteError
from fobench_plugins.systems.realtime.conversation import Conversation
from reference_model.turn_taking.energy_vad import EnergyVAD
from reference_model.turn_taking.silero_vad import RATE_HZ, WINDOW, SileroDetector, SileroVAD
from reference_model.turn_taking.speech_activity import VoiceActivityDetector

VadName = Literal["silero", "loudness"]
SPEECH = 0.5  # probability of speech from which a window counts as speech
ONSET = 3  # windows of speech that begin a turn: 96 ms
PRE_ROLL_S = 0.3  # of audio before the onset is noticed that belongs to the turn


def detectors(name: VadName) -> Callable[[], VoiceActivityDetector]:
    """Makes a detector for each conversation. Raises PrerequisiteError if its package or model is missing."""
    if name == "loudness":
        return EnergyVAD
    try:
        network = SileroVAD(next(store.get("silero-vad").glob("*.onnx")))
    except ImportError as error:
        raise PrerequisiteError(
            "vad=silero needs onnxruntime: pip install onnxruntime (or give vad=loudness, for a quiet line)"
        ) from error
    return lambda: SileroDetector(network)


class ClientTurns:
    """The microphone's way to a server in one conversation. `silence_ms`: the silence that ends a turn."""

    def __init__(
        self,
        conversation: Conversation,
        call: LiveCall,
        detector: VoiceActivityDetector,
        form: AudioFormat,
        silence_ms: int,
    ) -> None:
        self._conversation, self._call, self._detector, self._form = conversation, call, detector, form
        self._resampler = StreamResampler(form.rate_hz, RATE_HZ)
        self._release = max(1, round(silence_ms * RATE_HZ / 1000 / WINDOW))
        self._before: deque[AudioChunk] = deque()
        self._in_turn, self._speech, self._silence = False, 0, 0

    async def push(self, chunk: AudioChunk) -> None:
        if self._in_turn:
            await self._conversation.append(self._form.encode(chunk.samples))
        else:
            self._before.append(chunk)
            while sum(len(each.samples) for each in self._before) > PRE_ROLL_S * self._form.rate_hz:
                self._before.popleft()
        for _, probability in self._detector.push(self._resampler.push(chunk.samples)):
            speech = probability >= SPEECH
            self._speech = self._speech + 1 if speech else 0
            self._silence = 0 if speech else self._silence + 1
            if not self._in_turn and self._speech >= ONSET:
                await self._begin()
            elif self._in_turn and self._silence >= self._release:
                await self._end()

    async def _begin(self) -> None:
        self._in_turn = True
        self._call.emit(Event(EventKind.SPEECH_START))
        await self._conversation.interrupt(cancel=True)
        for chunk in self._before:
            await self._conversation.append(self._form.encode(chunk.samples))
        self._before.clear()

    async def _end(self) -> None:
        self._in_turn = False
        self._call.emit(Event(EventKind.SPEECH_END))
        await self._conversation.ask()
