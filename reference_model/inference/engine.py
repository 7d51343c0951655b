"""A model at work: a frozen backbone and the trained parts around it, shared by any number of sessions."""

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
from reference_model.speech_output.phonemizer import pieces
from reference_model.speech_output.sampling import generator
from reference_model.speech_output.segmenter import Segment, Segmenter, normalise, published_normalise
from reference_model.speech_output.silence_splitter import SilenceSplitter
from reference_model.turn_taking.speech_activity import VoiceActivityDetector

Heard = tuple[torch.Tensor, Any, Any]  # features or rows, encoder state, adapter state


@dataclass(slots=True)
class InferenceEngine:
    """What a session needs and never changes. `detectors` makes a voice activity detector for each session, or is None."""

    model: FreezeOmni
    backbone: Backbone
    settings: Settings
    detectors: Callable[[], VoiceActivityDetector] | None
    layout: TurnLayout = field(init=False)
    _opening: LLMContext | None = field(init=False, default=None)
    _thinker: BatchedBackbone = field(init=False)
    _hear: DynamicBatcher[Heard, Heard] = field(init=False)
    _say: DynamicBatcher[DecoderCall, torch.Tensor | None] = field(init=False)

    def __post_init__(self) -> None:
        self._thinker = BatchedBackbone(self.backbone)
        self._hear, self._say = DynamicBatcher(self._hear_many), DynamicBatcher(self.model.decoder.step_many)
        self.layout = TurnLayout.of(self.backbone.chat, self.settings.system_prompt)

    @property
    def end_ids(self) -> frozenset[int]:
        return self.backbone.end_ids

    @property
    def limit(self) -> int:
        """How many positions the LLM's context may hold when a user turn begins: room for the turn and its reply is left."""
        turn = self.settings.max_turn_rows + len(self.model.prompt) + self.settings.max_tokens
        return max(self.backbone.context - turn, self.backbone.context // 2)

    def opening(self) -> LLMContext:
        """A conversation's beginning; the system prompt is thought once and forked for each."""
        if self._opening is None:
            self._opening = LLMContext(self._thinker, self.layout)
        return self._opening.fork()

    def detector(self) -> VoiceActivityDetector | None:
        return self.detectors() if self.detectors else None

    def reply(self, number: int, seed: int) -> GeneratedReply:
        segmenter, rate = Segmenter(self.settings.segmentation), self.model.codec.sample_rate_hz
        return GeneratedReply(number, seed, generator(seed, number), self.backbone.pieces(), segmenter, rate)

    def hear(self, features: torch.Tensor, encoder: Any, adapter: Any) -> Heard:
        """A chunk of features [1, F, mels] -> (rows for the LLM [1, n, D], encoder state, adapter state)."""
        return self._hear((features, encoder, adapter))

    def _hear_many(self, calls: Sequence[Heard]) -> Sequence[Heard]:
        """Chunks of several sessions, as one batch."""
        features, encoders, adapters = zip(*calls, strict=True)
        if len(calls) == 1:
            return [self.model.hear(features[0], encoders[0], adapters[0])]
        rows, encoder, adapter = self.model.hear(torch.cat(features), stack(encoders), stack(adapters))
        return list(zip(rows.split(1), unstack(encoder), unstack(adapter), strict=True))

    def speech(self, reply: GeneratedReply, segment: Segment) -> SegmentSynthesizer | None:
        """A segment of the reply, ready to be spoken: its normalised text's embeddings and its tokens' hidden states, prefilled."""
        said = (published_normalise if self.model.config.compat else normalise)(segment.text)
        ids = self.backbone.encode(said)
        if not ids:
            return None
        decoder = self.model.decoder
        beside = pieces(ids, said, self.backbone.pieces(), phonetic=decoder.config.phonetic)
        text = decoder.text_rows(self.backbone.embed(torch.tensor([ids]))[0], beside)
        thought = [reply.hidden[i] for i in segment.tokens]
        prefix = decoder.text_rows(torch.stack(thought)) if thought and decoder.config.thoughts else None
        cutter = SilenceSplitter(self.settings.quiet) if self.settings.quiet else None
        state = decoder.prefill(text, prefix)
        draws = generator(reply.seed, reply.number, segment.tokens.start)
        return SegmentSynthesizer(state, self._say, self.model.codec, self.settings.speech, draws, cutter)

    @torch.no_grad()
    def answer(self, history: Sequence[Message], seed: int) -> str:
        """The reply to a conversation in text, with the prompt and the sampling of the spoken one."""
        settings, draws, pieces = self.settings, generator(seed, 0), self.backbone.pieces()
        system: list[Message] = (
            [{"role": "system", "content": settings.system_prompt}] if settings.system_prompt else []
        )
        ids, cache, text = self.backbone.chat([*system, *history]), None, ""
        for _ in range(settings.max_tokens):
            _, logits, cache = self.backbone.step(self.backbone.embed(torch.tensor([ids])), cache, logits=1)
            token = settings.text.sample(logits[0, -1], draws)
            if token in self.end_ids:
                break
            text += pieces.add(token)
            ids = [token]
        return text + pieces.rest()

    def about(self) -> dict[str, Any]:
        """Plain data for a run's record."""
        return {
            "configuration": self.model.config.name,
            "parameters": self.model.counts(),
            "settings": self.settings.to_json(),
        }
