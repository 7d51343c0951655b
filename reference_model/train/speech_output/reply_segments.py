"""Training segments of replies: text, codes, and the hidden states that predicted the text's tokens.

Segmentation and hidden states equal those of inference (`reference_model.inference.engine`) with the question as text
input.
"""

from __future__ import annotations

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
from fobench.outside_files import parse_json, read_lines
from fobench.scoring.text_normalization import normalize_as_whisper
from reference_model.checkpoint import safetensors_io
from reference_model.codec.convnext import ConvNeXtEncoder
from reference_model.codec.reference_codec import ReferenceCodec
from reference_model.config import ModelConfig
from reference_model.inference.chat_layout import TurnLayout
from reference_model.speech_output.segmenter import Segment, Segmentation, Segmenter, normalize, published_normalize
from reference_model.train.engine.skipped_samples import SkippedSamples
from reference_model.train.llm.frozen_llm import FrozenLLM, pad_embeddings
from reference_model.train.speech_output.decoder_training import DecoderExample
from reference_model.train.speech_output.stage_checkpoints import latents_to_codes
from reference_model.train.synthesis import speakers
from reference_model.train.synthesis.piper_latents import LatentSpeaker
from reference_model.train.texts.sentence_set import Split, split_of, text_id

REPLIES_PER_FILE = 100
BATCH = 8  # replies per forward pass of the LLM


@dataclass(frozen=True, slots=True)
class AnsweredQuestion:
    """A question and the backbone's reply."""

    id: str
    question: str
    reply: str

    @property
    def split(self) -> Split:
        """The split of the question."""
        return split_of(text_id(normalize_as_whisper(self.question)))


def read(path: Path, faults: SkippedSamples) -> list[AnsweredQuestion]:
    """Returns the lines {"question", "reply", optionally "id"} of a file of `llm_replies`; malformed lines go to
    `faults`.

    Raises FobenchError if the file cannot be read or has no valid line.
    """
    try:
        lines = read_lines(path)
    except (OSError, ValueError) as error:
        fix = "Create it: fobench train replies --help"
        raise FobenchError(f"{path} cannot be read as replies ({error}). {fix}") from error
    answers: dict[str, AnsweredQuestion] = {}
    for where, line in lines:
        try:
            row = parse_json(line)
            answer = AnsweredQuestion(str(row.get("id", where.rpartition(":")[2])), row["question"], row["reply"])
            for text in (answer.question, answer.reply):
                if not isinstance(text, str) or not text.strip():
                    raise ValueError(f"question and reply must be texts, not {text!r:.60}")
            if answer.id in answers:
                raise ValueError(f"its id {answer.id!r} is that of an earlier line")
            answers[answer.id] = answer
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            faults.add(where, str(error))
    if not answers:
        raise FobenchError(f"{path} holds no reply. {len(faults)} lines were skipped:\n{faults}")
    return [*answers.values()]


# ---- segments and hidden states -------------------------------------------------------------------------------------


def split_segments(backbone: Backbone, tokens: Sequence[int], rules: Segmentation) -> list[Segment]:
    """Returns the segments of a reply of these tokens."""
    detokenizer, segmenter = backbone.detokenizer(), Segmenter(rules)
    segments = [segment for token in tokens for segment in segmenter.push(detokenizer.push(token))]
    return [*segments, *segmenter.finish(detokenizer.flush())]


@torch.no_grad()
def reply_hidden_states(
    frozen: FrozenLLM, layout: TurnLayout, dialogues: Sequence[tuple[Tensor, Sequence[int]]]
) -> list[Tensor]:
    """Returns the hidden states [n, D] that predicted the n tokens of each reply, after a user turn of rows [q, D]."""
    opening, closing = frozen.embed(layout.opening), frozen.embed(layout.reply_open)
    rows = [torch.cat([opening, user, closing, frozen.embed(tokens[:-1])]) for user, tokens in dialogues]
    hidden = frozen.hidden(pad_embeddings(rows)[0])
    ends = [len(one) for one in rows]
    return [states[end - len(tokens) : end] for states, end, (_, tokens) in zip(hidden, ends, dialogues, strict=True)]


@dataclass(frozen=True, slots=True)
class SegmentMaker:
    """Makes the training segments of replies: hidden states by the LLM, codes by `synthesize`, which returns None for
    no sound.
    """

    frozen: FrozenLLM
    synthesize: Callable[[str], DecoderExample | None]
    config: ModelConfig
    codec: str  # fingerprint of the codec

    def make(self, answers: Sequence[AnsweredQuestion], faults: SkippedSamples) -> Iterator[tuple[str, DecoderExample]]:
        """Yields (name, segment) for the segments of all replies; silent and too long ones go to `faults`."""
        backbone, settings = self.frozen.backbone, self.config.settings
        layout = TurnLayout.of(backbone.chat, settings.system_prompt)
        for begin in range(0, len(answers), BATCH):
            batch = answers[begin : begin + BATCH]
            tokens = [backbone.encode(one.reply) for one in batch]
            users = [self.frozen.embed(backbone.encode(one.question)) for one in batch]
            states = reply_hidden_states(self.frozen, layout, list(zip(users, tokens, strict=True)))
            for one, ids, hidden in zip(batch, tokens, states, strict=True):
                for segment in split_segments(backbone, ids, settings.segmentation):
                    name = f"{one.id}.{segment.tokens.start}"
                    try:
                        yield name, self._example(segment, hidden)
                    except ValueError as error:
                        faults.add(name, f"{error}: {segment.text!r}")

    def _example(self, segment: Segment, hidden: Tensor) -> DecoderExample:
        """Returns the example of a segment. Raises ValueError if it cannot be synthesized."""
        backbone, longest = self.frozen.backbone, self.config.decoder.max_frames
        text = (published_normalize if self.config.compat else normalize)(segment.text)
        example = self.synthesize(text) if backbone.encode(text) else None
        if example is None:
            raise ValueError("nothing to say")
        if example.codes.shape[1] > longest:
            raise ValueError(f"{example.codes.shape[1]} frames, more than {longest}")
        if self.config.decoder.paced and example.durations is None:
            raise ValueError("the durations of its phonemes are not known")
        return replace(example, text=segment.text, hidden=hidden[segment.tokens.start : segment.tokens.stop].cpu())

    def about(self) -> dict[str, Any]:
        """Returns what the segments depend on, as plain data."""
        return {
            "backbone": self.frozen.backbone.name,
            "prompt": self.config.settings.system_prompt,
            "segmentation": asdict(self.config.settings.segmentation),
            "codec": self.codec,
        }


def reply_voice(name: str, threads: int = 1) -> Voice:
    """Returns the voice of replies: Piper with the options of output stage 2, any other voice with its defaults."""
    options = speakers.OUTPUT.options(threads) if name == speakers.OUTPUT.voice else {}
    voice: Voice = registry.create("voices", name, options)
    return voice


def audio_synthesizer(codec: ReferenceCodec, voice: Voice) -> Callable[[str], DecoderExample | None]:
    """Returns a function from a text to the codes of its audio by `voice`."""

    def synthesize(text: str) -> DecoderExample | None:
        samples = resample(voice.speak(text, 0), codec.sample_rate_hz).samples
        if not len(samples):
            return None
        with torch.no_grad():
            return DecoderExample(text, codec.encode(torch.from_numpy(samples)[None].to(codec.device))[0].cpu())

    return synthesize


def latent_synthesizer(
    codec: ReferenceCodec, encoder: ConvNeXtEncoder, speaker: LatentSpeaker
) -> Callable[[str], DecoderExample | None]:
    """Returns a function from a text to the codes of Piper's latents, with phonemes and durations.

    It is faster than synthesis of audio, and fits a decoder that output stage 2 trained on latents.
    """

    def synthesize(text: str) -> DecoderExample | None:
        speech = speaker.synthesize(text)
        if speech is None:
            return None
        durations = None if speech.durations is None else speech.durations / codec.config.stack
        return DecoderExample(
            text, latents_to_codes(codec, encoder, speech.latents).cpu(), None, speech.phonemes, durations
        )

    return synthesize


# ---- cache -----------------------------------------------------------------------------------------------------------


def load_or_make(
    maker: SegmentMaker, answers: Sequence[AnsweredQuestion], folder: Path, faults: SkippedSamples
) -> list[DecoderExample]:
    """Returns all segments of the replies.

    They are cached in files of REPLIES_PER_FILE replies, so that a stopped run resumes. Raises FobenchError for a cache
    of another LLM, codec, prompt or segmentation, and if no reply has a segment.
    """
    examples: list[DecoderExample] = []
    for begin in range(0, len(answers), REPLIES_PER_FILE):
        path = folder / f"segments-{begin // REPLIES_PER_FILE:04d}.safetensors"
        batch = answers[begin : begin + REPLIES_PER_FILE]
        ids = [one.id for one in batch]
        about, tensors = _read_cached(path, maker.about())
        if about.get("replies") != ids:
            failed = SkippedSamples()
            segments = dict(maker.make(batch, failed))
            tensors = {key: value for name, one in segments.items() for key, value in _tensors(name, one)}
            texts = {name: (one.text, one.phonemes) for name, one in segments.items()}
            about = {**maker.about(), "replies": ids, "texts": texts, "faults": failed.entries}
            safetensors_io.save_tensors(tensors, about, path)
        faults.entries.extend((where, reason) for where, reason in about["faults"])
        examples += [
            DecoderExample(
                text,
                tensors[f"{name}.codes"].long(),
                tensors[f"{name}.hidden"],
                phonemes,
                tensors.get(f"{name}.durations"),
            )
            for name, (text, phonemes) in about["texts"].items()
        ]
    if not examples:
        raise FobenchError(f"None of {len(answers)} replies has a segment that can be synthesized:\n{faults}")
    return examples


def _read_cached(path: Path, expected: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Returns (metadata, tensors) of a cache file; both are empty if there is none."""
    if not path.exists():
        return {}, {}
    about, tensors = safetensors_io.load(path)
    differing = [key for key in expected if about.get(key) != expected[key]]
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
