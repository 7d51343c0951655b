"""The inference engine: a frozen backbone and the trained modules around it, shared by any number of sessions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from fobench.api.components import Backbone
from fobench.api.thoughts import opened_thought, without_thoughts
from fobench.api.types import Message
from fobench.errors import FobenchError
from reference_model.config import Settings
from reference_model.inference.chat_layout import TurnLayout
from reference_model.inference.dynamic_batching import BatchedBackbone, DynamicBatcher
from reference_model.inference.llm_context import LLMContext, Role
from reference_model.inference.reply import GeneratedReply
from reference_model.model import FreezeOmni
from reference_model.speech_input.ctc_adapter import CTCAdapter
from reference_model.speech_input.streaming_encoder import stack, unstack
from reference_model.speech_output.decoder_input import decoder_input
from reference_model.speech_output.packets import DecoderCall, SegmentSynthesizer, SilenceCutter
from reference_model.speech_output.sampling import generator, without_repeats
from reference_model.speech_output.segmenter import Segment, Segmenter, normalize, published_normalize
from reference_model.speech_output.silence_splitter import LeadingSilence, SilenceSplitter
from reference_model.turn_taking.speech_activity import VoiceActivityDetector

ANSWERS_KEPT = 2  # contexts of answers in text, one for each text route
Lines = tuple[tuple[str, str], ...]  # (role, content) of each message
HISTORY = (
    2048  # positions of the LLM's context that a conversation may fill: about 10 minutes of talk with a CTC adapter
)

EncoderCall = tuple[torch.Tensor, Any, Any]  # features or rows, encoder state, adapter state


@dataclass(slots=True)
class InferenceEngine:
    """The immutable part of all sessions. `detectors` makes a voice activity detector for each session; None: there is none."""

    model: FreezeOmni
    backbone: Backbone
    settings: Settings
    detectors: Callable[[], VoiceActivityDetector] | None
    layout: TurnLayout = field(init=False)
    thought_tag: str = field(init=False)  # the tag with which the chat template opens a thought of the reply
    _opening: LLMContext | None = field(init=False, default=None)
    _answered: OrderedDict[Lines, LLMContext] = field(init=False, default_factory=OrderedDict)  # by text, latest last
    _llm: BatchedBackbone = field(init=False)
    _hear: DynamicBatcher[EncoderCall, EncoderCall] = field(init=False)
    _say: DynamicBatcher[DecoderCall, torch.Tensor | None] = field(init=False)

    def __post_init__(self) -> None:
        self._llm = BatchedBackbone(self.backbone)
        self._hear, self._say = DynamicBatcher(self._hear_many), DynamicBatcher(self.model.decoder.step_many)
        self.layout = TurnLayout.of(self.backbone.chat, self.settings.system_prompt)
        detokenizer = self.backbone.detokenizer()
        self.thought_tag = opened_thought("".join(map(detokenizer.push, self.layout.reply_open)) + detokenizer.flush())

    @property
    def end_ids(self) -> frozenset[int]:
        return self.backbone.end_ids

    @property
    def limit(self) -> int:
        """Positions that the LLM's context may hold when a user turn begins, so that the turn and its reply still fit.

        At most `HISTORY`: with more of them, the oldest turns are dropped until half is left (`LLMContext.forget`), so that a
        step costs the same however long the conversation is.
        """
        turn = self.settings.max_turn_rows + len(self.model.prompt) + self.settings.max_tokens
        return min(HISTORY, max(self.backbone.context - turn, self.backbone.context // 2))

    @property
    def hears_text(self) -> bool:
        """Whether the LLM gets a user's speech as the embeddings of its transcript's tokens, and nothing else.

        Then a transcript has one reply, speech-in and text-in. Other adapters give embeddings of sounds, for which there are no
        tokens, and trained prompt vectors stand before speech only: their replies to speech and to text are different ones.
        """
        return isinstance(self.model.adapter, CTCAdapter) and not len(self.model.prompt)

    @property
    def no_repeat(self) -> int:
        """So many tokens in a row occur once at most in a reply (`Backbone.no_repeat`); 0: without a limit.

        A checkpoint that samples, or penalizes repetitions itself, has no further rule.
        """
        own = self.settings.text
        return getattr(self.backbone, "no_repeat", 0) if own.greedy and not own.window else 0

    def next_token(
        self, context: LLMContext, reply: Sequence[int], draws: torch.Generator
    ) -> tuple[int | None, torch.Tensor]:
        """(the token after those of the `reply` so far, None at its end; the hidden state [D] that predicted it).

        The first call for a reply opens its turn, which includes the prefill of what stands around it. The end-of-turn token
        is not fed to the LLM.
        """
        if reply:
            hidden, logits = context.extend(context.embed(reply[-1:]))
        else:
            hidden, logits = context.open(Role.REPLY, context.embed(()))
        token = self.settings.text.sample(without_repeats(logits[0, -1], reply, self.no_repeat), draws)
        ended = token in self.end_ids or len(reply) >= self.settings.max_tokens
        return None if ended else token, hidden[0, -1]

    def opening(self) -> LLMContext:
        """The context of a new conversation; the prefill of the system prompt is done once and forked."""
        if self._opening is None:
            self._opening = LLMContext(self._llm, self.layout, self.settings.max_turn_rows if self.hears_text else 0)
        return self._opening.fork()

    def reply(self, number: int, seed: int) -> GeneratedReply:
        """A reply without any token yet."""
        segmenter, rate = Segmenter(self.settings.segmentation), self.model.codec.sample_rate_hz
        draws, detokenizer = generator(seed, number), self.backbone.detokenizer()
        return GeneratedReply(number, seed, draws, detokenizer, segmenter, rate, self.thought_tag)

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
        """The synthesizer of a segment, after the prefill with its text and, if the decoder takes them, the tokens' hidden states;
        None: no text."""
        text = (published_normalize if self.model.config.compat else normalize)(segment.text)
        decoder = self.model.decoder
        if (rows := decoder_input(decoder, self.backbone, text)) is None:
            return None
        hidden = [reply.hidden[i] for i in segment.tokens if i < len(reply.hidden)]  # text held back has no token
        prefix = decoder.text_rows(torch.stack(hidden)) if hidden and decoder.config.thoughts else None
        state = decoder.prefill(rows, prefix)
        draws = generator(reply.seed, reply.number, segment.tokens.start)
        return SegmentSynthesizer(state, self._say, self.model.codec, self.settings.speech, draws, self._cutter(reply))

    def _cutter(self, reply: GeneratedReply) -> SilenceCutter | None:
        """What is done to the silence in the audio of the reply's next segment."""
        if self.settings.quiet:
            return SilenceSplitter(self.settings.quiet)
        kept = self.settings.lead_in_s
        begins = kept is not None and not reply.samples
        return LeadingSilence(int((kept or 0.0) * reply.rate_hz)) if begins else None

    @torch.no_grad()
    def answer(self, history: Sequence[Message], seed: int) -> str:
        """The reply to a conversation in text with its thoughts: the steps of the spoken reply to these words (`hears_text`)."""
        context = self._context_of(history)
        replies = sum(message["role"] == "assistant" for message in history)
        draws, detokenizer, text = generator(seed, replies), self.backbone.detokenizer(), self.thought_tag
        tokens: list[int] = []
        while (token := self.next_token(context, tokens, draws)[0]) is not None:
            tokens.append(token)
            text += detokenizer.push(token)
        text += detokenizer.flush()
        self._answered[_lines([*history, {"role": "assistant", "content": text}])] = context
        while len(self._answered) > ANSWERS_KEPT:
            self._answered.popitem(last=False)
        return text

    def _context_of(self, history: Sequence[Message]) -> LLMContext:
        """The LLM's context of a conversation in text, before the reply. That after an earlier answer is continued."""
        lines = _lines(history)
        known = next((n for n in range(len(lines), 0, -1) if lines[:n] in self._answered), 0)
        context = self._answered[lines[:known]].fork() if known else self.opening()
        for role, content in lines[known:]:
            last = context.turns[-1].role if context.turns else None
            if role != "user":
                if last is not Role.REPLY:
                    context.open(Role.REPLY, context.embed(()))
                rows = context.embed(self.backbone.encode(content))
            else:
                if last is not Role.USER:
                    context.forget(self.limit)
                    context.open(Role.USER, context.embed(())[:, :0])
                rows = context.embed(self.backbone.encode(content if last is not Role.USER else f" {content}"))
            if rows.shape[1]:
                context.extend(rows)
        return context

    def about(self) -> dict[str, Any]:
        """Plain data for run.json."""
        return {
            "configuration": self.model.config.name,
            "parameters": self.model.counts(),
            "settings": self.settings.to_json(),
        }


def _lines(history: Sequence[Message]) -> Lines:
    """The messages without thoughts. Raises FobenchError for other roles than user and assistant."""
    if other := {message["role"] for message in history} - {"user", "assistant"}:
        raise FobenchError(
            f"A conversation in text has messages of the user and the assistant, not {', '.join(other)}."
        )
    return tuple(
        (role, (content if role == "user" else without_thoughts(content)).strip())
        for role, content in ((message["role"], message["content"]) for message in history)
    )
