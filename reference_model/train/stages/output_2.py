"""Output stage 2, the text-to-codec speech LM (Freeze-Omni, arXiv 2411.00774, section 3.3).

    fobench train output-2 --latents runs/data/spoken --codec runs/train/output-1 --out runs/train/output-2
    fobench train output-2 --teacher runs/earlier.safetensors --texts runs/data/output/plan.jsonl --out runs/train/output-2

Trains the speech decoder (NAR prefill and AR) on pairs of text and speech with the cross-entropy of the codec tokens. Its input are
the text's phonemes or letters and, where the configuration has them (`llm_rows`), the LLM's frozen token embeddings. The pairs are
latents of the voice (fobench train latents --silent) or recordings (`--data`), encoded once at the beginning; or what the decoder of
an earlier checkpoint says (`--teacher`), whose weights are then the initial ones: so a decoder learns to do without the LLM's rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from accelerate import PartialState
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from fobench.assets import weight_files
from fobench.atomic_files import atomic_path
from fobench.cli.options import named_args
from fobench.errors import FobenchError
from reference_model.codec.convnext import ConvNeXtEncoder
from reference_model.codec.reference_codec import ReferenceCodec
from reference_model.model import FreezeOmni
from reference_model.speech_output.speech_decoder import SpeechDecoder, SpeechDecoderConfig
from reference_model.train.data.corpus import Corpus
from reference_model.train.engine.cost_estimate import DryRunBatch
from reference_model.train.engine.skipped_samples import SkippedSamples
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.speech_output import intelligibility_eval, teacher_speech
from reference_model.train.speech_output.codec_training import split_validation, trainable_config
from reference_model.train.speech_output.decoder_training import (
    DecoderBatch,
    DecoderExample,
    SpeechDecoderLearner,
    SpeechDecoderStage,
    TextReader,
    collate,
    embeddings_of,
)
from reference_model.train.speech_output.stage_checkpoints import (
    check_codes,
    fingerprint,
    latents_to_codes,
    load_codec,
    load_latents_encoder,
)
from reference_model.train.stages.dry_run import CLIP_S, DryRunCase
from reference_model.train.stages.stage_command import StageRun, stage_command
from reference_model.train.synthesis import piper_latents

PATH = click.Path(path_type=Path)
VALID = 300  # examples held out for validation
NO_LIMIT = 10_000_000  # training texts


def encode_latents(
    codec: ReferenceCodec, latents_encoder: ConvNeXtEncoder, folder: Path, cache: Path
) -> list[DecoderExample]:
    """Encodes a folder of latents: texts with codes [K, F] int16, phonemes and durations, cached in a file."""
    if not cache.is_file():
        metadata: dict[str, list[str]] = {"texts": [], "phonemes": []}
        tensors = {}
        for i, one in enumerate(piper_latents.read(folder)):
            metadata["texts"].append(one.text)
            metadata["phonemes"].append(one.phonemes)
            tensors[str(i)] = latents_to_codes(codec, latents_encoder, one.latents).short().cpu()
            if one.durations is not None:
                tensors[f"{i}.durations"] = one.durations / codec.config.stack  # in frames
        about = {key: json.dumps(value) for key, value in metadata.items()} | {"codec": fingerprint(codec)}
        with atomic_path(cache) as temporary:
            save_file(tensors, temporary, about)
    with _open_cache(cache, codec) as file:
        texts, phonemes = (json.loads(file.metadata()[key]) for key in ("texts", "phonemes"))
        durations = [file.get_tensor(f"{i}.durations") if text else None for i, text in enumerate(phonemes)]
        codes = [file.get_tensor(str(i)) for i in range(len(texts))]
        return [DecoderExample(t, c, None, p, d) for t, c, p, d in zip(texts, codes, phonemes, durations, strict=True)]


@torch.no_grad()
def encode_recordings(codec: ReferenceCodec, corpus: Corpus, cache: Path) -> list[DecoderExample]:
    """Encodes all clips: texts with codes [K, F] int16, cached in a file; unreadable clips are skipped."""
    found: dict[str, Tensor] = {}
    if cache.is_file():
        with _open_cache(cache, codec) as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    missing = [i for i, entry in enumerate(corpus.entries) if entry.id not in found]
    for index in missing:
        samples = corpus.samples(index)
        if samples is not None:
            audio = torch.from_numpy(samples)[None].to(codec.device)
            found[corpus.entries[index].id] = codec.encode(audio)[0].short().cpu()
    if missing:
        with atomic_path(cache) as temporary:
            save_file(found, temporary, {"codec": fingerprint(codec)})
    return [DecoderExample(entry.text, found[entry.id]) for entry in corpus.entries if entry.id in found]


def _open_cache(cache: Path, codec: ReferenceCodec) -> Any:
    """Opens the file of codes. FobenchError for a broken file, and for codes of another codec."""
    weight_files.safetensors_header(cache)
    file = safe_open(cache, "pt")
    if (file.metadata() or {}).get("codec", fingerprint(codec)) != fingerprint(codec):
        raise FobenchError(f"{cache} was made with another codec. Remove it, or give another --out.")
    return file


def usable_examples(
    items: Sequence[DecoderExample], reader: TextReader, max_frames: int, faults: SkippedSamples
) -> list[DecoderExample]:
    """Returns the examples with text and at most `max_frames` frames; the others are listed in `faults`."""
    found = []
    for number, one in enumerate(items):
        if not any(reader(one.text, one.phonemes)[1]):
            faults.add(f"text {number}", f"the text has nothing to speak: {one.text!r}")
        elif not 0 < one.codes.shape[1] <= max_frames:
            faults.add(f"text {number}", f"{one.codes.shape[1]} frames, not 1 to {max_frames}: {one.text!r}")
        else:
            found.append(one)
    return found


@dataclass(frozen=True, slots=True)
class Pairs:
    """The (training, validation) examples of a run, by source; their codes are cached in its folder."""

    run: StageRun
    reader: TextReader
    config: SpeechDecoderConfig
    faults: SkippedSamples

    def of_latents(
        self, codec: ReferenceCodec, codec_folder: Path, folder: Path
    ) -> tuple[list[DecoderExample], list[DecoderExample]]:
        """Returns the texts of a folder of the voice's latents."""
        encoder = load_latents_encoder(codec_folder).to(codec.device)
        texts = self._usable(encode_latents(codec, encoder, folder, self.run.out / "codes.safetensors"))
        held_out = min(VALID, max(1, len(texts) // 10))
        return texts[held_out:], texts[:held_out]

    def of_recordings(
        self, codec: ReferenceCodec, data: Sequence[Path]
    ) -> tuple[list[DecoderExample], list[DecoderExample]]:
        """Returns the clips of shards and manifests."""
        found = []
        for name, corpus in zip(
            ("train", "valid"), split_validation(Corpus.open(data, codec.sample_rate_hz), data, VALID), strict=True
        ):
            cache = self.run.out / f"codes-{name}.safetensors"
            found.append(self._usable(encode_recordings(codec, corpus, cache)))
            self.faults.entries += corpus.faults.entries
        return found[0], found[1]

    def of_teacher(
        self, teacher: FreezeOmni, frozen: FrozenLLM, texts: Path, limit: int | None
    ) -> tuple[list[DecoderExample], list[DecoderExample]]:
        """Returns the segments of a file's texts as the teacher speaks them; `limit`: number of training texts, and a tenth
        as many for validation."""
        found = []
        for split, count in (("train", limit or NO_LIMIT), ("valid", min(VALID, max(1, (limit or NO_LIMIT) // 10)))):
            lines = intelligibility_eval.read(texts, split, count)
            examples = teacher_speech.speak_lines(
                teacher,
                frozen,
                lines,
                self.run.out / f"spoken-{split}",
                partial(_report_spoken, split, len(lines)),
            )
            found.append(self._usable(examples))
        return found[0], found[1]

    def _usable(self, items: Sequence[DecoderExample]) -> list[DecoderExample]:
        return usable_examples(items, self.reader, self.config.max_frames, self.faults)


def _report_spoken(split: str, total: int, done: int) -> None:
    click.echo(f"{split}: the teacher has spoken {done:,} of {total:,} texts", err=True)


def _without_hidden_states(config: SpeechDecoderConfig, letters: bool, phonemes: bool) -> SpeechDecoderConfig:
    """Returns the configuration of this stage; stage 3 adds the hidden states."""
    config = replace(config, thoughts=False, characters=config.characters if letters else 0)
    return replace(config, phonetic=config.phonetic and phonemes, paced=config.paced and phonemes)


def sample_output_2(case: DryRunCase) -> DryRunBatch:
    """Makes the dry run's batch: texts with codes, without the LLM's hidden states."""
    letters, phonemes = (case.options.get(name) is not False for name in ("letters", "phonemes"))
    config = _without_hidden_states(case.config.decoder, letters, letters and phonemes)
    learner, batch, reader = dry_run_parts(case, config)
    return DryRunBatch(SpeechDecoderStage(learner, reader, [], [], 1.0), batch, case.describe_batch(noun="texts"))


def dry_run_parts(
    case: DryRunCase, config: SpeechDecoderConfig, hidden: Tensor | None = None
) -> tuple[SpeechDecoderLearner, DecoderBatch, TextReader]:
    """Returns (module, batch, reader) of a dry run.

    `hidden` [n, D]: hidden states of the LLM for each text, for prefix tuning.
    """
    frozen = case.frozen_llm() if config.llm_rows or config.thoughts else None
    with case.device:
        decoder = SpeechDecoder(config)
    backbone = frozen.backbone if frozen else None
    reader = TextReader(backbone, replace(case.config, decoder=config), phonetic=config.phonetic)
    frames = round(CLIP_S * trainable_config(case.config.codec).frame_rate_hz)
    codes = torch.zeros(config.codebooks, frames, dtype=torch.int64)
    durations = torch.full((len(case.transcript),), frames / len(case.transcript))
    example = DecoderExample(case.transcript, codes, hidden, case.transcript, durations)
    learner = SpeechDecoderLearner(decoder, embeddings_of(frozen) if frozen and config.llm_rows else None)
    return learner, collate(reader, [example] * case.clip_count()), reader


@stage_command(
    config="small",
    sample=sample_output_2,
    steps=8000,
    lr=1e-3,
    warmup=200,
    validate_every=250,
    batch_s=160.0,
    batch_most=96,
    precision="bf16",
)
@click.option("--data", multiple=True, type=PATH, help="Folder of shards, or a manifest, of one voice; repeatable.")
@click.option("--latents", "folder", type=PATH, help="Folder of the voice's latents, instead of --data.")
@click.option("--codec", "codec_folder", type=PATH, help="Folder of output stage 1; not with --teacher, which has one.")
@click.option("--teacher", type=PATH, help="A complete checkpoint whose decoder speaks --texts, instead of --data.")
@click.option("--texts", type=PATH, help="File of texts for --teacher: lines, or JSON lines with text and split.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000_000), help="Number of training texts of --texts.  [default: all]"
)
@click.option(
    "--letters/--no-letters",
    default=True,
    show_default=True,
    help="Letters in addition to tokens, if the model has them.",
)
@click.option(
    "--phonemes/--spelt", default=True, show_default=True, help="Phonemes and their durations, if the model has them."
)
@click.option(
    "--join", default=0.25, show_default=True, help="Probability that a batch's examples are joined in pairs."
)
@click.option("--backbone", help="The LLM.  [default: the configuration's]")
@named_args("--backbone-args", "backbone")
def main(
    run: StageRun,
    data: Sequence[Path],
    folder: Path | None,
    codec_folder: Path | None,
    teacher: Path | None,
    texts: Path | None,
    limit: int | None,
    letters: bool,
    phonemes: bool,
    join: float,
    backbone: str | None,
    backbone_args: Mapping[str, str],
) -> None:
    """Trains output stage 2: the text-to-codec speech decoder, without the LLM's hidden states."""
    torch.manual_seed(run.loop.seed)
    sources = [source for source in (data, folder, teacher) if source]
    if len(sources) != 1 or bool(teacher) == bool(codec_folder) or bool(teacher) != bool(texts):
        raise FobenchError(
            "Give either recordings (--data) or the voice's latents (--latents), with --codec; or --teacher with --texts."
        )
    config = _without_hidden_states(run.config.decoder, letters, letters and phonemes)
    if config.paced and data:
        raise FobenchError("Recordings have no phoneme durations: give --latents, or --spelt.")
    state, model = PartialState(), teacher_speech.load_teacher(teacher) if teacher else None
    codec = model.codec if model else load_codec(codec_folder or Path()).to(state.device)
    assert isinstance(codec, ReferenceCodec)
    check_codes(codec, config)
    frozen = None  # needed for its embeddings alone, so that a decoder without rows of the LLM needs none
    if model or config.llm_rows:
        frozen = FrozenLLM.of_model(model.config if model else run.config, backbone, backbone_args, "cpu")
    reader = TextReader(
        frozen.backbone if frozen else None, replace(run.config, decoder=config), phonetic=config.phonetic
    )
    pairs = Pairs(run, reader, config, SkippedSamples())
    decoder = teacher_speech.student_of(model.decoder, config) if model else SpeechDecoder(config)
    with state.main_process_first():
        if model and texts and frozen:
            train, valid = pairs.of_teacher(model, frozen, texts, limit)
        elif folder and codec_folder:
            train, valid = pairs.of_latents(codec, codec_folder, folder)
        else:
            train, valid = pairs.of_recordings(codec, data)
    if not train or not valid:
        faults = pairs.faults
        raise FobenchError(f"Too few texts to train on and to validate with. {len(faults)} were skipped:\n{faults}")
    seconds = sum(one.codes.shape[1] for one in train) / codec.config.frame_rate_hz
    click.echo(f"{len(train):,} texts, {seconds / 3600:.1f} h", err=True)
    module = SpeechDecoderLearner(decoder, embeddings_of(frozen) if frozen and config.llm_rows else None)
    stage = SpeechDecoderStage(
        module, reader, train, valid, codec.config.frame_rate_hz, join, {"decoder": asdict(config)}, faults=pairs.faults
    )
    run.train(stage)


if __name__ == "__main__":
    main()
