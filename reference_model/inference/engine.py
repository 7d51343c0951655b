"""The inference engine: a frozen backbone and the trained modules around it, shared by any number of sessions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from fobench.api.components import Backbone
from fobench.api.types import Message
from reference_model.config import Settings
from reference_model.inference.chat_layout import TurnLayout
from reference_model.inference.dynamic_batching import BatchedBackbone, DynamicBatcher
from reference_model.inference.llm_context import LLMContext
from reference_model.inference.reply import GeneratedReply
from reference_model.model import FreezeOmni
from reference_model.speech_input.streaming_encoder import stack, unstack
from reference_model.speech_output.packets import DecoderCall, SegmentSynthesizer
from reference_model.speech_output.phonemizer import aligned_text
from reference_model.speech_output.sampling import generator
from reference_model.speech_output.segmenter import Segment, Segmenter, normalize, published_normalize
from reference_model.speech_output.silence_splitter import SilenceSplitter
from reference_model.turn_taking.speech_activity import VoiceActivityDetector

EncoderCall = tuple[torch.Tensor, Any, Any]  # features or rows, encoder state, adapter state


@dataclass(slots=True)
class InferenceEngine:
    """The immutable part of all sessions. `detectors` makes a voice activity detector for each session; None: there is none."""

    model: FreezeOmni
    backbone: Backbone
    settings: Settings
    detectors: Callable[[], VoiceActivityDetector] | None
    layout: TurnLayout = field(init=False)
    _opening: LLMContext | None = field(init=False, default=None)
    _llm: BatchedBackbone = field(init=False)
    _hear: DynamicBatcher[EncoderCall, EncoderCall] = field(init=False)
    _say: DynamicBatcher[DecoderCall, torch.Tensor | None] = field(init=False)

    def __post_init__(self) -> None:
        self._llm = BatchedBackbone(self.backbone)
        self._hear, self._say = DynamicBatcher(self._hear_many), DynamicBatcher(self.model.decoder.step_many)
        self.layout = TurnLayout.of(self.backbone.chat, self.settings.system_prompt)

    @property
    def end_ids(self) -> frozenset[int]:
        return self.backbone.end_ids

    @property
    def limit(self) -> int:
        """Positions that the LLM's context may hold when a user turn begins, so that the turn and its reply still fit."""
        turn = self.settings.max_turn_rows + len(self.model.prompt) + self.settings.max_tokens
        return max(self.backbone.context - turn, self.backbone.context // 2)

    def opening(self) -> LLMContext:
        """The context of a new conversation; the prefill of the system prompt is done once and forked."""
        if self._opening is None:
            self._opening = LLMContext(self._llm, self.layout)
        return self._opening.fork()

    def reply(self, number: int, seed: int) -> GeneratedReply:
        """A reply without any token yet."""
        segmenter, rate = Segmenter(self.settings.segmentation), self.model.codec.sample_rate_hz
        return GeneratedReply(number, seed, generator(seed, number), self.backbone.detokenizer(), segmenter, rate)

    def hear(self, features: torch.Tensor, encoder: Any, adapter: Any) -> EncoderCall:
        """A chunk of features [1, F, mels] -> (adapter output [1, n, ...], encoder state, adapter state); batched across sessions."""
        return self._hear((features, encoder, adapter))

    def _hear_many(self, calls: Sequence[EncoderCall]) -> Sequence[EncoderCall]:
        """The chunks of several sessions as one batch."""
        features, encoders, adapters = zip(*calls, strict=True)
        if len(calls) == 1:
            return [self.model.hear(features[0], encoders[0], adapters[0])]
        rows, encoder, adapter = self.model.hear(torch.cat(features), stack(encoders), stack(adapters))
        return list(zip(rows.split(1), unstack(encoder), unstack(adapter), strict=True))

    def speech(self, reply: GeneratedReply, segment: Segment) -> SegmentSynthesizer | None:
        """The synthesizer of a segment, after the prefill with the text's embeddings and the tokens' hidden states; None: no text."""
        text = (published_normalize if self.model.config.compat else normalize)(segment.text)
        ids = self.backbone.encode(text)
        if not ids:
            return None
        decoder = self.model.decoder
        aligned = aligned_text(ids, text, self.backbone.detokenizer(), phonetic=decoder.config.phonetic)
        rows = decoder.text_rows(self.backbone.embed(torch.tensor([ids]))[0], aligned)
        hidden = [reply.hidden[i] for i in segment.tokens]
        prefix = decoder.text_rows(torch.stack(hidden)) if hidden and decoder.config.thoughts else None
        splitter = SilenceSplitter(self.settings.quiet) if self.settings.quiet else None
        state = decoder.prefill(rows, prefix)
        draws = generator(reply.seed, reply.number, segment.tokens.start)
        return SegmentSynthesizer(state, self._say, self.model.codec, self.settings.speech, draws, splitter)

    @torch.no_grad()
    def answer(self, history: Sequence[Message], seed: int) -> str:
        """The reply to a conversation in text, with the prompt and the sampling of the spoken reply."""
        settings, draws, detokenizer = self.settings, generator(seed, 0), self.backbone.detokenizer()
        system: list[Message] = (
            [{"role": "system", "content": settings.system_prompt}] if settings.system_prompt else []
        )
        ids, cache, text = self.backbone.chat([*system, *history]), None, ""
        for _ in range(settings.max_tokens):
            _, logits, cache = self.backbone.step(self.backbone.embed(torch.tensor([ids])), cache, logits=1)
            token = settings.text.sample(logits[0, -1], draws)
            if token in self.end_ids:
                break
            text += detokenizer.push(token)
            ids = [token]
        return text + detokenizer.flush()

    def about(self) -> dict[str, Any]:
        """Plain data for run.json."""
        return {
            "configuration": self.model.config.name,
            "parameters": self.model.counts(),
            "settings": self.settings.to_json(),
        }
