"""The cascade: recogniser -> frozen LLM -> voice, streaming. The baseline that a speech-native system must beat.

Whose turn it is, is decided by Silero VAD, loudness, and rules on the words that were heard (`cascade_session`): no head is
trained for it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

from fobench.api import registry
from fobench.api.types import AudioChunk, Backbone, Message, Recognizer, Voice
from fobench.assets import store
from fobench_plugins.systems.cascade.session import CascadeSession
from fobench_plugins.systems.cascade.turn_state import Detector, Glimpsing, Timing
from fobench_plugins.systems.result_cache import Replays, Shared, T
from reference_model.turn_taking.silero_vad import RATE_HZ, WINDOW, Silero, SpeechDetector

CHUNK = WINDOW  # 32 ms
DUPLEX = "voice activity, loudness and rules on the words"
SYSTEM_PROMPT = (
    "You are a helpful voice assistant. Your answers are spoken aloud: keep them to one or two short sentences."
)


class Cascade:
    """The system: its parts, shared by its sessions."""

    input_rate_hz = RATE_HZ
    chunk = CHUNK

    def __init__(
        self,
        backbone: Backbone,
        recognizer: Recognizer,
        voice: Voice,
        detector: Callable[[], Detector],
        timing: Timing,
        about: Mapping[str, Any],
        system_prompt: str,
        max_tokens: int,
    ) -> None:
        self.backbone, self.recognizer, self.voice = backbone, recognizer, voice
        self.detector, self.timing = detector, timing
        self.output_rate_hz = voice.rate_hz
        self._about = about
        self._prompt: list[Message] = [{"role": "system", "content": system_prompt}] if system_prompt else []
        self._max_tokens = max_tokens
        self._complete: dict[tuple[int, ...], str] = {}  # greedy replies by prompt: the same prompt has the same reply
        self.replays = False  # whether to give again what was computed before (`types.Replayable`)
        self._replays = Replays()

    def about(self) -> dict[str, Any]:
        parts = {"backbone": self.backbone, "recognizer": self.recognizer, "voice": self.voice}
        details = {name: part.about() for name, part in parts.items() if hasattr(part, "about")}
        return {**self._about, "parts": details, "parameter_hash": self.backbone.parameter_hash()}

    def open(self, seed: int) -> CascadeSession:
        return CascadeSession(self, seed)

    def hear(self, audio: AudioChunk, *, glimpse: bool = False) -> str:
        """The words in it; at a glimpse where the recogniser can."""
        own = self.recognizer
        if glimpse and isinstance(own, Glimpsing):
            return self._once(lambda: own.glimpse(audio), "glimpse", audio).text
        return self._once(lambda: own.transcribe(audio), "transcribe", audio).text

    def say(self, text: str, seed: int) -> AudioChunk:
        return self._once(lambda: self.voice.speak(text, seed), "speak", text, seed)

    def stream(self, history: Sequence[Message], seed: int) -> Iterator[str]:
        """The reply to `history`, token by token; a reply that was generated to its end is remembered for `answer`."""
        messages = [*self._prompt, *history]
        if self.replays:
            key = ("reply", *self.backbone.chat(messages))
            return iter(self._replays.get(key, lambda: Shared(self._generated(messages, seed))))
        return self._generated(messages, seed)

    def _generated(self, messages: Sequence[Message], seed: int) -> Iterator[str]:
        pieces = []
        for piece in self.backbone.stream(messages, max_tokens=self._max_tokens, seed=seed):
            pieces.append(piece)
            yield piece
        self._complete[tuple(self.backbone.chat(messages))] = "".join(pieces)

    def answer(self, history: Sequence[Message], seed: int) -> str:
        """The text route, with the very prompt and decoding of the spoken one."""
        key = tuple(self.backbone.chat([*self._prompt, *history]))
        if key not in self._complete:
            for _ in self.stream(history, seed):
                pass
        return self._complete[key]

    def _once(self, make: Callable[[], T], *made_of: Hashable | AudioChunk) -> T:
        if not self.replays:
            return make()
        return self._replays.get(
            tuple(_digest(part) if isinstance(part, AudioChunk) else part for part in made_of), make
        )


def _digest(audio: AudioChunk) -> tuple[int, bytes]:
    return audio.rate_hz, sha256(audio.samples.tobytes()).digest()


def cascade(
    backbone: str = "smollm2-135m",
    backbone_args: Mapping[str, Any] | None = None,
    recognizer: str = "faster-whisper",
    voice: str = "piper",
    device: str | None = None,
    dtype: str | None = None,
    system_prompt: str = SYSTEM_PROMPT,
    max_tokens: int = 48,
    onset_ms: int = 96,
    eager_ms: int = 192,
    end_ms: int = 608,
    unfinished_ms: int = 2000,
    look_ms: int = 192,
    barge_in_ms: int = 1280,
    near_db: float = 5.0,
) -> Cascade:
    """Recogniser -> frozen LLM -> voice.

    `onset_ms`: speech that opens a turn. `eager_ms`: silence after which transcription starts. `end_ms`: silence that ends
    the turn; `unfinished_ms`: the same after words that leave a sentence open. `look_ms`: speech over a reply after
    which its words are first looked at; `barge_in_ms`: speech that stops a reply whatever its words are.
    `near_db`: what is softer than the user was by more than this is not the user. Times are rounded to windows of 32 ms.
    """
    chosen = {key: value for key, value in {"device": device, "dtype": dtype}.items() if value}
    parts = {"backbone": backbone, "recognizer": recognizer, "voice": voice}
    made = {
        "backbone": registry.create("backbones", backbone, {**chosen, **(backbone_args or {})}),
        "recognizer": registry.create("recognizers", recognizer),
        "voice": registry.create("voices", voice),
    }
    network = Silero(next(store.get("silero-vad").glob("*.onnx")))
    spans = (onset_ms, eager_ms, end_ms, unfinished_ms, look_ms, barge_in_ms)
    *silences, look, barge_in = (max(1, round(ms * RATE_HZ / 1000 / WINDOW)) for ms in spans)
    return Cascade(
        **made,
        detector=lambda: SpeechDetector(network),
        timing=Timing(*silences, looks=(look, 2 * look, 4 * look), barge_in=barge_in, near_db=near_db),
        about={**parts, "duplex": DUPLEX},
        system_prompt=system_prompt,
        max_tokens=max_tokens,
    )
