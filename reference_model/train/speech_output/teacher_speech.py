"""Speech of an earlier speech decoder as training pairs for one of another form: sequence-level knowledge distillation
(arXiv 1606.07947). The teacher's codes and durations are its sampled ones, as listeners hear them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from fobench.errors import FobenchError
from reference_model.checkpoint import loading, safetensors_io
from reference_model.codec.reference_codec import ReferenceCodec
from reference_model.model import FreezeOmni
from reference_model.speech_output.phonemizer import phonemes
from reference_model.speech_output.segmenter import normalize, published_normalize
from reference_model.speech_output.speech_decoder import SpeechDecoder, SpeechDecoderConfig
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.speech_output import batch_synthesis
from reference_model.train.speech_output.batch_synthesis import SynthesisLine, SynthesisPart
from reference_model.train.speech_output.decoder_training import DecoderExample

LINES = 64  # texts in a cached file


def load_teacher(path: Path) -> FreezeOmni:
    """Returns a complete checkpoint. FobenchError for one with the published codec."""
    teacher = loading.load(path, device="cpu")
    if not isinstance(teacher.codec, ReferenceCodec):
        raise FobenchError(f"{path} has the published codec, whose voice no stage here trains.")
    return teacher


def student_of(teacher: SpeechDecoder, config: SpeechDecoderConfig) -> SpeechDecoder:
    """Returns a decoder of `config` with the teacher's weights; those of networks that it lacks are left out.

    Raises FobenchError where the sizes differ.
    """
    student = SpeechDecoder(config)
    weights, needed = teacher.state_dict(), student.state_dict()
    missing = [key for key, value in needed.items() if key not in weights or weights[key].shape != value.shape]
    if missing:
        raise FobenchError(
            f"The teacher's speech decoder has other sizes than the configuration's ({', '.join(missing[:3])}). "
            "Choose its --config."
        )
    student.load_state_dict({key: weights[key] for key in needed})
    return student


@torch.no_grad()
def speak_lines(
    teacher: FreezeOmni,
    frozen: FrozenLLM,
    lines: Sequence[SynthesisLine],
    cache: Path,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[DecoderExample]:
    """Returns the segments of all lines as the teacher speaks them; endless ones are left out.

    They are cached in files of `LINES` lines in `cache`, so that a stopped run resumes; files of other lines are made again.
    """
    found: list[DecoderExample] = []
    for begin in range(0, len(lines), LINES):
        batch, path = lines[begin : begin + LINES], cache / f"spoken-{begin:06d}.safetensors"
        texts = [line.text for line in batch]
        about, tensors = safetensors_io.load(path) if path.is_file() else ({}, {})
        if about.get("lines") != texts:
            examples = _speak(teacher, frozen, batch, begin)
            about = {
                "lines": texts,
                "texts": [one.text for one in examples],
                "phonemes": [one.phonemes for one in examples],
            }
            tensors = {f"{i}.codes": one.codes.short() for i, one in enumerate(examples)}
            tensors |= {f"{i}.durations": one.durations for i, one in enumerate(examples) if one.durations is not None}
            safetensors_io.save_tensors(tensors, about, path)
        for i, (text, sounds) in enumerate(zip(about["texts"], about["phonemes"], strict=True)):
            found.append(
                DecoderExample(text, tensors[f"{i}.codes"].long(), None, sounds, tensors.get(f"{i}.durations"))
            )
        on_progress(begin + len(batch))
    return found


def _speak(teacher: FreezeOmni, frozen: FrozenLLM, lines: Sequence[SynthesisLine], seed: int) -> list[DecoderExample]:
    """Returns the segments of some lines."""
    config, decoder = teacher.config, teacher.decoder
    parts = batch_synthesis.make_parts(decoder, frozen, config, lines, use_hidden=False, seed=seed)
    spoken = batch_synthesis.synthesize(decoder, parts, config.settings.speech)
    clean = published_normalize if config.compat else normalize
    examples = []
    for part, (codes, ended) in zip(parts, spoken, strict=True):
        if ended and codes.shape[1]:
            sounds = phonemes(clean(part.text)) if decoder.config.phonetic else ""
            examples.append(DecoderExample(part.text, codes, None, sounds, _durations(decoder, part, len(sounds))))
    return examples


def _durations(decoder: SpeechDecoder, part: SynthesisPart, phoneme_count: int) -> torch.Tensor | None:
    """Returns the durations (frames) that the decoder gave the phonemes of a segment, the last rows of its text."""
    if decoder.pace is None:
        return None
    return decoder.durations(part.rows)[0, part.rows.shape[1] - phoneme_count :].clone()
