"""The speech recognizer, the frozen LLM and the TTS voice of a cascade, shared by its sessions, with a cache of results."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from hashlib import sha256
from typing import Any, Protocol, runtime_checkable

from fobench.api.components import Backbone, Recognizer, Voice
from fobench.api.thoughts import opened_thought
from fobench.api.types import AudioChunk, Message, Transcript
from fobench_plugins.systems.result_cache import ResultCache, SharedIterator, T

PROMPT_TAIL = 16  # tokens at a prompt's end that are looked at for a tag


@runtime_checkable
class PartialRecognizer(Protocol):
    """A recognizer that also gives partial hypotheses of speech in progress, faster and less accurate."""

    def transcribe_partial(self, audio: AudioChunk) -> Transcript: ...


@runtime_checkable
class StreamingVoice(Protocol):
    """A voice that also gives the audio of `speak` in packets, generated as they are asked for."""

    def stream(self, text: str, seed: int) -> Iterator[AudioChunk]: ...


class Components:
    """The components of a session. `cache_results`: whether results are cached (`fobench.api.components.Cacheable`)."""

    def __init__(
        self, backbone: Backbone, recognizer: Recognizer, voice: Voice, system_prompt: str, max_tokens: int
    ) -> None:
        self.backbone, self.recognizer, self.voice = backbone, recognizer, voice
        self.cache_results = False
        self._prompt: list[Message] = [{"role": "system", "content": system_prompt}] if system_prompt else []
        self._max_tokens = max_tokens
        self._complete: dict[tuple[int, ...], str] = {}  # complete greedy replies by prompt
        self._cache = ResultCache()

    def about(self) -> dict[str, Any]:
        """Plain data of each component that describes itself, and the hash of the LLM's parameters."""
        parts = {"backbone": self.backbone, "recognizer": self.recognizer, "voice": self.voice}
        details = {name: part.about() for name, part in parts.items() if hasattr(part, "about")}
        return {"parts": details, "parameter_hash": self.backbone.parameter_hash()}

    def hear(self, audio: AudioChunk, *, glimpse: bool = False) -> str:
        """The transcript of `audio`. `glimpse`: a partial hypothesis is enough, where the recognizer has one."""
        own = self.recognizer
        if glimpse and isinstance(own, PartialRecognizer):
            return self._once(lambda: own.transcribe_partial(audio), "glimpse", audio).text
        return self._once(lambda: own.transcribe(audio), "transcribe", audio).text

    def say(self, text: str, seed: int) -> Iterator[AudioChunk]:
        """The text as speech in packets, at the voice's rate; none for an empty text."""
        if not text:
            return iter(())
        if self.cache_results:
            return iter(self._cache.get(("speak", text, seed), lambda: SharedIterator(self._synthesized(text, seed))))
        return self._synthesized(text, seed)

    def _synthesized(self, text: str, seed: int) -> Iterator[AudioChunk]:
        if isinstance(self.voice, StreamingVoice):
            yield from self.voice.stream(text, seed)
        else:
            yield self.voice.speak(text, seed)

    def stream(self, history: Sequence[Message], seed: int) -> Iterator[str]:
        """The reply to `history` with its thoughts, token by token; a complete reply is kept for `answer`."""
        messages = [*self._prompt, *history]
        if self.cache_results:
            key = ("reply", *self.backbone.chat(messages))
            return iter(self._cache.get(key, lambda: SharedIterator(self._generated(messages, seed))))
        return self._generated(messages, seed)

    def answer(self, history: Sequence[Message], seed: int) -> str:
        """The reply to `history` as text, with the prompt and decoding of the spoken reply."""
        key = tuple(self.backbone.chat([*self._prompt, *history]))
        if key not in self._complete:
            for _ in self.stream(history, seed):
                pass
        return self._complete[key]

    def _generated(self, messages: Sequence[Message], seed: int) -> Iterator[str]:
        prompt, reply = tuple(self.backbone.chat(messages)), ""
        opening = self._opened_thought(prompt)
        for piece in self.backbone.stream(messages, max_tokens=self._max_tokens, seed=seed):
            text = piece if reply else opening + piece
            reply += text
            yield text
        self._complete[prompt] = reply

    def _opened_thought(self, prompt: Sequence[int]) -> str:
        """The tag with which the prompt [T] opens a thought of the reply; "" without one, or without a detokenizer."""
        if not hasattr(self.backbone, "detokenizer"):
            return ""
        detokenizer = self.backbone.detokenizer()
        return opened_thought("".join(map(detokenizer.push, prompt[-PROMPT_TAIL:])) + detokenizer.flush())

    def _once(self, make: Callable[[], T], *key: Hashable | AudioChunk) -> T:
        """The result of `make`, cached under `key` if `cache_results`."""
        if not self.cache_results:
            return make()
        return self._cache.get(tuple(_digest(part) if isinstance(part, AudioChunk) else part for part in key), make)


def _digest(audio: AudioChunk) -> tuple[int, bytes]:
    return audio.rate_hz, sha256(audio.samples.tobytes()).digest()
