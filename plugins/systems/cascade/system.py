"""The cascade: speech recognizer -> frozen LLM -> TTS voice, streaming. The baseline for speech-native systems.

Turn-taking is rule-based, without any training: Silero VAD, loudness, and rules on transcripts (`session`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fobench.api import registry
from fobench.api.option_ranges import Decibels, Milliseconds, Tokens
from fobench.api.types import Message
from fobench.assets import store
from fobench_plugins.systems.cascade.components import Components
from fobench_plugins.systems.cascade.session import CascadeSession
from fobench_plugins.systems.cascade.turn_state import CascadeTiming
from reference_model.turn_taking.silero_vad import RATE_HZ, WINDOW, SileroDetector, SileroVAD
from reference_model.turn_taking.speech_activity import VoiceActivityDetector

DUPLEX = "voice activity, loudness and rules on the words"
SYSTEM_PROMPT = (
    "You are a helpful voice assistant. Your answers are spoken aloud: keep them to one or two short sentences."
)


class Cascade:
    """The system: components, shared by its sessions. `detectors` makes a voice activity detector for each session."""

    input_rate_hz = RATE_HZ
    chunk = WINDOW  # 32 ms

    def __init__(
        self,
        components: Components,
        detectors: Callable[[], VoiceActivityDetector],
        timing: CascadeTiming,
        about: Mapping[str, Any],
    ) -> None:
        self.components = components
        self.output_rate_hz = components.voice.rate_hz
        self._detectors, self._timing, self._about = detectors, timing, about

    @property
    def cache_results(self) -> bool:
        """Whether results are cached (`fobench.api.components.Cacheable`)."""
        return self.components.cache_results

    @cache_results.setter
    def cache_results(self, on: bool) -> None:
        self.components.cache_results = on

    def about(self) -> dict[str, Any]:
        return {**self._about, **self.components.about()}

    def open(self, seed: int) -> CascadeSession:
        return CascadeSession(self.components, self._detectors(), self._timing, seed)

    def answer(self, history: Sequence[Message], seed: int) -> str:
        return self.components.answer(history, seed)


def cascade(
    backbone: str = "smollm2-135m",
    backbone_args: Mapping[str, Any] | None = None,
    recognizer: str = "faster-whisper",
    voice: str = "piper",
    device: str | None = None,
    dtype: str | None = None,
    generation: str | None = None,
    system_prompt: str = SYSTEM_PROMPT,
    max_tokens: Tokens = 48,
    onset_ms: Milliseconds = 96,
    eager_ms: Milliseconds = 192,
    end_ms: Milliseconds = 608,
    unfinished_ms: Milliseconds = 2000,
    look_ms: Milliseconds = 192,
    barge_in_ms: Milliseconds = 1280,
    near_db: Decibels = 5.0,
    speculate: bool = True,
) -> Cascade:
    """Speech recognizer -> frozen LLM -> TTS voice.

    `generation`: the backbone's rule of decoding ("no-repeat-4" or "greedy"), for speech-in and for text-in.
    `onset_ms`: speech that opens a turn. `eager_ms`: silence after which transcription starts. `end_ms`: end-of-turn timeout,
    the silence that ends the turn; `unfinished_ms`: the same after an incomplete sentence. `look_ms`: speech over a reply after
    which its partial hypothesis is first checked; `barge_in_ms`: forced barge-in, the speech that stops a reply whatever the
    words are. `near_db`: near-field margin; a talker softer than the user by more than this is ignored. `speculate`: begin the
    reply once the turn is transcribed, during the rest of the end-of-turn timeout; it is discarded if the user goes on. Times are
    rounded to windows of 32 ms.
    """
    options = {"device": device, "dtype": dtype, "generation": generation}
    placement = {key: value for key, value in options.items() if value}
    components = Components(
        registry.create("backbones", backbone, {**placement, **(backbone_args or {})}),
        registry.create("recognizers", recognizer),
        registry.create("voices", voice),
        system_prompt,
        max_tokens,
    )
    network = SileroVAD(next(store.get("silero-vad").glob("*.onnx")))
    spans = (onset_ms, eager_ms, end_ms, unfinished_ms, look_ms, barge_in_ms)
    onset, eager, end, unfinished, look, barge_in = (max(1, round(ms * RATE_HZ / 1000 / WINDOW)) for ms in spans)
    looks = (look, 2 * look, 4 * look)
    timing = CascadeTiming(onset, eager, end, unfinished, looks, barge_in, near_db, speculate)
    about = {"backbone": backbone, "recognizer": recognizer, "voice": voice, "duplex": DUPLEX}
    return Cascade(components, lambda: SileroDetector(network), timing, about)
