"""Replies as the segments that they are spoken in: text, codes, and the hidden states that predicted the text's tokens.

All of it is as in a live conversation (`reference_model.inference.engine`) whose user turn is the question in writing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fobench.api import registry
from fobench.api.components import Backbone, Voice
from fobench.audio import resample
from fobench.errors import FobenchError
from fobench.scoring.text_normalization import normalise as normal
from reference_model.checkpoint import safetensors_io
from reference_model.codec.convnext import ConvNeXtEncoder
from reference_model.codec.reference_codec import ReferenceCodec
from reference_model.config import ModelConfig
from reference_model.inference.chat_layout import TurnLayout
from reference_model.speech_output.segmenter import Segment, Segmentation, Segmenter, normalise, published_normalise
from reference_model.train.engine.skipped_samples import SkippedSamples
from reference_model.train.llm.frozen_llm import FrozenLLM, padded
from reference_model.train.speech_output.decoder_training import DecoderExample
from reference_model.train.speech_output.stage_checkpoints import codes_of
from reference_model.train.synthesis import speakers
from reference_model.train.synthesis.piper_latents import LatentSpeaker
from reference_model.train.texts.sentence_set import Split, split_of, text_id

FILE = 100  # replies
BATCH = 8  # replies that the LLM reads at once


@dataclass(frozen=True, slots=True)
class AnsweredQuestion:
    """A question and the backbone's own reply to it."""

    id: str
    question: str
    reply: str

    @property
    def split(self) -> Split:
        """By the question alone."""
        return split_of(text_id(normal(self.question)))


def read(path: Path, faults: SkippedSamples) -> list[AnsweredQuestion]:
    """The lines {"question", "reply", maybe "id"} of a file that `replies` wrote; what is none of them goes to `faults`.

    Raises FobenchError where the file cannot be read, or nothing is left.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        fix = "Make it: python -m reference_model.train.synthesis.llm_replies --help"
        raise FobenchError(f"{path} cannot be read as replies ({error}). {fix}") from error
    found = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            one = AnsweredQuestion(str(row.get("id", number)), row["question"], row["reply"])
            if not one.question.strip() or not one.reply.strip():
                raise ValueError("an empty question or reply")
            found.append(one)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            faults.add(f"{path.name}:{number}", str(error))
    if not found:
        raise FobenchError(f"{path} holds no reply. {len(faults)} lines were skipped:\n{faults}")
    return found


# ---- as in a live conversation ---------------------------------------------------------------------------------------


def cut(backbone: Backbone, tokens: Sequence[int], rules: Segmentation) -> list[Segment]:
    """The segments of a reply of these tokens."""
    reader, segmenter = backbone.pieces(), Segmenter(rules)
    found = [segment for token in tokens for segment in segmenter.push(reader.add(token))]
    return [*found, *segmenter.finish(reader.rest())]


@torch.no_grad()
def thoughts(frozen: FrozenLLM, layout: TurnLayout, talks: Sequence[tuple[Tensor, Sequence[int]]]) -> list[Tensor]:
    """The hidden states [n, D] that predicted the n tokens of each reply, after a first user turn of rows [q, D]."""
    opening, closing = frozen.embed(layout.opening), frozen.embed(layout.reply_open)
    rows = [torch.cat([opening, user, closing, frozen.embed(tokens[:-1])]) for user, tokens in talks]
    hidden = frozen.hidden(padded(rows)[0])
    ends = [len(one) for one in rows]
    return [states[end - len(tokens) : end] for states, end, (_, tokens) in zip(hidden, ends, talks, strict=True)]


@dataclass(frozen=True, slots=True)
class SegmentMaker:
    """Makes segments of replies: the LLM thinks them, `speak` turns their texts to codes, or to None where there is no sound."""

    frozen: FrozenLLM
    speak: Callable[[str], DecoderExample | None]
    config: ModelConfig
    codec: str  # what tells its codes from another's

    def make(self, answers: Sequence[AnsweredQuestion], faults: SkippedSamples) -> Iterator[tuple[str, DecoderExample]]:
        """(name, segment) of every reply; what has no sound, or too much of it, goes to `faults`."""
        backbone, settings = self.frozen.backbone, self.config.settings
        layout = TurnLayout.of(backbone.chat, settings.system_prompt)
        for begin in range(0, len(answers), BATCH):
            batch = answers[begin : begin + BATCH]
            tokens = [backbone.encode(one.reply) for one in batch]
            users = [self.frozen.embed(backbone.encode(one.question)) for one in batch]
            states = thoughts(self.frozen, layout, list(zip(users, tokens, strict=True)))
            for one, ids, hidden in zip(batch, tokens, states, strict=True):
                for segment in cut(backbone, ids, settings.segmentation):
                    name = f"{one.id}.{segment.tokens.start}"
                    try:
                        yield name, self._utterance(segment, hidden)
                    except ValueError as error:
                        faults.add(name, f"{error}: {segment.text!r}")

    def _utterance(self, segment: Segment, hidden: Tensor) -> DecoderExample:
        """Raises ValueError for what cannot be said."""
        backbone, longest = self.frozen.backbone, self.config.decoder.max_frames
        text = (published_normalise if self.config.compat else normalise)(segment.text)
        said = self.speak(text) if backbone.encode(text) else None
        if said is None:
            raise ValueError("nothing to say")
        if said.codes.shape[1] > longest:
            raise ValueError(f"{said.codes.shape[1]} frames, more than {longest}")
        if self.config.decoder.paced and said.durations is None:
            raise ValueError("it is not known how long each phoneme lasts")
        return replace(said, text=segment.text, hidden=hidden[segment.tokens.start : segment.tokens.stop].cpu())

    def about(self) -> dict[str, Any]:
        """What the segments depend on."""
        return {
            "backbone": self.frozen.backbone.name,
            "prompt": self.config.settings.system_prompt,
            "segmentation": asdict(self.config.settings.segmentation),
            "codec": self.codec,
        }


def voice_of(name: str, threads: int = 1) -> Voice:
    """The voice of replies: Piper as it is rendered for output stage 2, any other with its defaults."""
    options = speakers.OUTPUT.options(threads) if name == speakers.OUTPUT.voice else {}
    voice: Voice = registry.create("voices", name, options)
    return voice


def by_sound(codec: ReferenceCodec, voice: Voice) -> Callable[[str], DecoderExample | None]:
    """Text -> the codes of its sound."""

    def speak(text: str) -> DecoderExample | None:
        samples = resample(voice.speak(text, 0), codec.sample_rate_hz).samples
        if not len(samples):
            return None
        with torch.no_grad():
            return DecoderExample(text, codec.encode(torch.from_numpy(samples)[None].to(codec.device))[0].cpu())

    return speak


def by_latents(
    codec: ReferenceCodec, reads: ConvNeXtEncoder, speaker: LatentSpeaker
) -> Callable[[str], DecoderExample | None]:
    """Text -> the codes of the latents that Piper would make its sound of, with its phonemes and their durations.

    As output stage 2 may have learnt, and faster than by sound.
    """

    def speak(text: str) -> DecoderExample | None:
        said = speaker.say(text)
        if said is None:
            return None
        durations = None if said.durations is None else said.durations / codec.config.stack
        return DecoderExample(text, codes_of(codec, reads, said.latents).cpu(), None, said.phonemes, durations)

    return speak


# ---- kept in files ---------------------------------------------------------------------------------------------------


def prepared(
    maker: SegmentMaker, answers: Sequence[AnsweredQuestion], folder: Path, faults: SkippedSamples
) -> list[DecoderExample]:
    """All segments of the replies. They are kept in files of some replies each, so that a run that is stopped goes on.

    Raises FobenchError for a folder whose files were made with another LLM, codec, prompt or segmentation.
    """
    found: list[DecoderExample] = []
    for begin in range(0, len(answers), FILE):
        path = folder / f"segments-{begin // FILE:04d}.safetensors"
        batch = answers[begin : begin + FILE]
        ids = [one.id for one in batch]
        about, tensors = _kept(path, maker.about())
        if about.get("replies") != ids:
            failed = SkippedSamples()
            made = dict(maker.make(batch, failed))
            tensors = {key: value for name, one in made.items() for key, value in _tensors(name, one)}
            texts = {name: (one.text, one.phonemes) for name, one in made.items()}
            about = {**maker.about(), "replies": ids, "texts": texts, "faults": failed.found}
            safetensors_io.save_tensors(tensors, about, path)
        faults.found.extend((where, why) for where, why in about["faults"])
        found += [
            DecoderExample(
                text,
                tensors[f"{name}.codes"].long(),
                tensors[f"{name}.hidden"],
                phonemes,
                tensors.get(f"{name}.durations"),
            )
            for name, (text, phonemes) in about["texts"].items()
        ]
    if not found:
        raise FobenchError(f"None of {len(answers)} replies has a segment that can be said:\n{faults}")
    return found


def _kept(path: Path, wanted: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(about, tensors) of a file; both empty where there is none."""
    if not path.exists():
        return {}, {}
    about, tensors = safetensors_io.load(path)
    differing = [key for key in wanted if about.get(key) != wanted[key]]
    if differing:
        raise FobenchError(
            f"{path.parent} was made with another {', '.join(differing)}. Remove it, or give another --out."
        )
    return about, tensors


def _tensors(name: str, one: DecoderExample) -> Iterator[tuple[str, Tensor]]:
    assert one.hidden is not None
    yield f"{name}.codes", one.codes.short()
    yield f"{name}.hidden", one.hidden.half()
    if one.durations is not None:
        yield f"{name}.durations", one.durations.float()
