"""Batched synthesis of many texts, with the same codes per text as a live reply of the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reference_model.config import ModelConfig
from reference_model.inference.chat_layout import TurnLayout
from reference_model.speech_output.decoder_input import decoder_input
from reference_model.speech_output.sampling import Sampling, generator
from reference_model.speech_output.segmenter import normalize, published_normalize
from reference_model.speech_output.speech_decoder import DecoderState, SpeechDecoder
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.speech_output.reply_segments import reply_hidden_states, split_segments

BATCH = 32  # segments decoded together


@dataclass(frozen=True, slots=True)
class SynthesisLine:
    """A text to synthesize, with the question that it answers if it is a reply."""

    text: str
    question: str = ""


@dataclass(frozen=True, slots=True)
class SynthesisPart:
    """A segment of line number `line`: text rows [1, H, d], hidden-state rows [1, P, d] or None, and the seeds of its
    sampling.
    """

    line: int
    text: str
    rows: Tensor
    hidden: Tensor | None
    seeds: tuple[int, ...]


@torch.no_grad()
def make_parts(
    decoder: SpeechDecoder,
    frozen: FrozenLLM,
    config: ModelConfig,
    lines: Sequence[SynthesisLine],
    *,
    use_hidden: bool,
    seed: int = 0,
) -> list[SynthesisPart]:
    """Returns the segments of all lines.

    `use_hidden`: replies get the LLM's hidden states, if the decoder has a prefix network.
    """
    backbone, settings = frozen.backbone, config.settings
    layout, device = TurnLayout.of(backbone.chat, settings.system_prompt), decoder.embedding.weight.device
    parts = []
    for number, line in enumerate(lines):
        tokens, hidden = backbone.encode(line.text), None
        if use_hidden and line.question and decoder.config.thoughts:
            hidden = reply_hidden_states(frozen, layout, [(frozen.embed(backbone.encode(line.question)), tokens)])[
                0
            ].to(device)
        for segment in split_segments(backbone, tokens, settings.segmentation):
            text = (published_normalize if config.compat else normalize)(segment.text)
            rows = decoder_input(decoder, backbone, text)
            if rows is None:
                continue
            span = segment.tokens
            hidden_rows = None if hidden is None else decoder.text_rows(hidden[span.start : span.stop])
            parts.append(SynthesisPart(number, segment.text, rows, hidden_rows, (seed, number, span.start)))
    return parts


def synthesize(
    decoder: SpeechDecoder, segments: Sequence[SynthesisPart], sampling: Sampling
) -> list[tuple[Tensor, bool]]:
    """Returns the codes [K, F] of every segment, and whether it ended by its end token, not at the maximal length."""
    frames: list[list[Tensor]] = [[] for _ in segments]
    ended = [True] * len(segments)
    active: dict[int, tuple[DecoderState, Sampling, torch.Generator]] = {}
    queue = iter(range(len(segments)))
    while True:
        while len(active) < BATCH and (number := next(queue, None)) is not None:
            part = segments[number]
            active[number] = (decoder.prefill(part.rows, part.hidden), sampling, generator(*part.seeds))
        if not active:
            return [
                (stack_frames(segment_frames, decoder), end) for segment_frames, end in zip(frames, ended, strict=True)
            ]
        for number, frame in zip(list(active), decoder.step_many(list(active.values())), strict=True):
            if frame is None:
                ended[number] = active.pop(number)[0].given < decoder.config.max_frames
            else:
                frames[number].append(frame)


def stack_frames(frames: Sequence[Tensor], decoder: SpeechDecoder) -> Tensor:
    """Returns frames of codes [K] as [K, F]; F may be 0."""
    return torch.stack(list(frames), -1) if frames else torch.zeros(decoder.config.codebooks, 0, dtype=torch.long)
