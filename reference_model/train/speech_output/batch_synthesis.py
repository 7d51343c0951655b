"""Many texts said at once, each as a live reply of the same seed would say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reference_model.config import ModelConfig
from reference_model.inference.chat_layout import TurnLayout
from reference_model.speech_output.phonemizer import pieces
from reference_model.speech_output.sampling import Sampling, generator
from reference_model.speech_output.segmenter import normalise, published_normalise
from reference_model.speech_output.speech_decoder import DecoderState, SpeechDecoder
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.speech_output.reply_segments import cut, thoughts

AT_ONCE = 32  # segments


@dataclass(frozen=True, slots=True)
class SynthesisLine:
    """A text to be said, with the question that it answers, if it is a reply."""

    text: str
    question: str = ""


@dataclass(frozen=True, slots=True)
class SynthesisPart:
    """A segment of line number `line`. Text rows [1, H, d], hidden-state rows [1, P, d] or none, and what seeds its draws."""

    line: int
    text: str
    rows: Tensor
    thought: Tensor | None
    seeds: tuple[int, ...]


@torch.no_grad()
def parts(
    decoder: SpeechDecoder,
    frozen: FrozenLLM,
    config: ModelConfig,
    lines: Sequence[SynthesisLine],
    *,
    thinking: bool,
    seed: int = 0,
) -> list[SynthesisPart]:
    """The segments of all lines. `thinking`: replies are given with the LLM's thoughts, where the decoder reads them."""
    backbone, settings = frozen.backbone, config.settings
    layout, device = TurnLayout.of(backbone.chat, settings.system_prompt), decoder.embedding.weight.device
    found = []
    for number, line in enumerate(lines):
        tokens, hidden = backbone.encode(line.text), None
        if thinking and line.question and decoder.config.thoughts:
            hidden = thoughts(frozen, layout, [(frozen.embed(backbone.encode(line.question)), tokens)])[0].to(device)
        for segment in cut(backbone, tokens, settings.segmentation):
            said = (published_normalise if config.compat else normalise)(segment.text)
            ids = backbone.encode(said)
            if not ids:
                continue
            beside = pieces(ids, said, backbone.pieces(), phonetic=decoder.config.phonetic)
            rows = decoder.text_rows(frozen.embed(ids).to(device), beside)
            own = segment.tokens
            thought = None if hidden is None else decoder.text_rows(hidden[own.start : own.stop])
            found.append(SynthesisPart(number, segment.text, rows, thought, (seed, number, own.start)))
    return found


def say(decoder: SpeechDecoder, segments: Sequence[SynthesisPart], sampling: Sampling) -> list[tuple[Tensor, bool]]:
    """The codes [K, F] of every segment, and whether it ended of itself rather than at the longest that there may be."""
    frames: list[list[Tensor]] = [[] for _ in segments]
    ended = [True] * len(segments)
    going: dict[int, tuple[DecoderState, Sampling, torch.Generator]] = {}
    waiting = iter(range(len(segments)))
    while True:
        while len(going) < AT_ONCE and (number := next(waiting, None)) is not None:
            part = segments[number]
            going[number] = (decoder.prefill(part.rows, part.thought), sampling, generator(*part.seeds))
        if not going:
            return [(joined(some, decoder), end) for some, end in zip(frames, ended, strict=True)]
        for number, frame in zip(list(going), decoder.step_many(list(going.values())), strict=True):
            if frame is None:
                ended[number] = going.pop(number)[0].given < decoder.config.max_frames
            else:
                frames[number].append(frame)


def joined(frames: Sequence[Tensor], decoder: SpeechDecoder) -> Tensor:
    """Frames of [K] codes -> [K, F], F from 0."""
    return torch.stack(list(frames), -1) if frames else torch.zeros(decoder.config.codebooks, 0, dtype=torch.long)
