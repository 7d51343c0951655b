"""Trains output stage 2: text -> codec tokens, from pairs of text and speech; the LLM's embeddings stay as they are.

    python -m reference_model.train.stages.output_2 --latents runs/data/spoken --codec runs/train/output-1 --out runs/train/output-2

The pairs are latents of the voice (train.latents --silent), or recordings (`--data`), turned into codes once, at the beginning.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import torch
from accelerate import PartialState
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from fobench.cli.options import named_args
from fobench.errors import FobenchError
from reference_model.codec.convnext import ConvNeXtEncoder
from reference_model.codec.reference_codec import ReferenceCodec
from reference_model.speech_output.speech_decoder import SpeechDecoder, SpeechDecoderConfig
from reference_model.train.data.corpus import Corpus
from reference_model.train.engine.cost_estimate import DryRunBatch
from reference_model.train.engine.skipped_samples import SkippedSamples
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.speech_output.codec_training import trainable, valid_of
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
    codes_of,
    fingerprint,
    load_codec,
    load_reader,
)
from reference_model.train.stages.dry_run import CLIP_S, DryRunCase
from reference_model.train.stages.stage_command import StageRun, stage_command
from reference_model.train.synthesis import piper_latents

PATH = click.Path(path_type=Path)
VALID = 300  # items kept aside


def spoken(codec: ReferenceCodec, reads: ConvNeXtEncoder, folder: Path, cache: Path) -> list[DecoderExample]:
    """The texts of a folder of latents with their codes [K, F], int16, phonemes and durations, kept in a file."""
    if not cache.is_file():
        told: dict[str, list[str]] = {"texts": [], "phonemes": []}
        tensors = {}
        for i, one in enumerate(piper_latents.read(folder)):
            told["texts"].append(one.text)
            told["phonemes"].append(one.phonemes)
            tensors[str(i)] = codes_of(codec, reads, one.latents).short().cpu()
            if one.durations is not None:
                tensors[f"{i}.durations"] = one.durations / codec.config.stack  # in frames
        save_file(
            tensors, cache, {key: json.dumps(value) for key, value in told.items()} | {"codec": fingerprint(codec)}
        )
    with _opened(cache, codec) as file:
        texts, phonemes = (json.loads(file.metadata()[key]) for key in ("texts", "phonemes"))
        durations = [file.get_tensor(f"{i}.durations") if said else None for i, said in enumerate(phonemes)]
        codes = [file.get_tensor(str(i)) for i in range(len(texts))]
        return [DecoderExample(t, c, None, p, d) for t, c, p, d in zip(texts, codes, phonemes, durations, strict=True)]


@torch.no_grad()
def encoded(codec: ReferenceCodec, corpus: Corpus, cache: Path) -> list[DecoderExample]:
    """Every clip's text and codes [K, F], int16, kept in a file; clips that cannot be read are left out."""
    found: dict[str, Tensor] = {}
    if cache.is_file():
        with _opened(cache, codec) as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    missing = [i for i, entry in enumerate(corpus.entries) if entry.id not in found]
    for index in missing:
        samples = corpus.samples(index)
        if samples is not None:
            audio = torch.from_numpy(samples)[None].to(codec.device)
            found[corpus.entries[index].id] = codec.encode(audio)[0].short().cpu()
    if missing:
        save_file(found, cache, {"codec": fingerprint(codec)})
    return [DecoderExample(entry.text, found[entry.id]) for entry in corpus.entries if entry.id in found]


def _opened(cache: Path, codec: ReferenceCodec) -> Any:
    """The file of codes; FobenchError for those of another codec."""
    file = safe_open(cache, "pt")
    if (file.metadata() or {}).get("codec", fingerprint(codec)) != fingerprint(codec):
        raise FobenchError(f"{cache} was made with another codec. Remove it, or give another --out.")
    return file


def fit(
    items: Sequence[DecoderExample], reader: TextReader, longest: int, faults: SkippedSamples
) -> list[DecoderExample]:
    """Those that can be learnt from: with something to say, of at most so many frames; the others go to `faults`."""
    found = []
    for number, one in enumerate(items):
        if not reader(one.text, one.phonemes)[0]:
            faults.add(f"text {number}", f"nothing to say: {one.text!r}")
        elif not 0 < one.codes.shape[1] <= longest:
            faults.add(f"text {number}", f"{one.codes.shape[1]} frames, not 1 to {longest}: {one.text!r}")
        else:
            found.append(one)
    return found


def from_recordings(
    codec: ReferenceCodec, data: Sequence[Path], out: Path, reader: TextReader, longest: int, faults: SkippedSamples
) -> tuple[list[DecoderExample], list[DecoderExample]]:
    """(to train on, kept aside): the clips of shards and manifests, their codes kept in `out`."""
    found = []
    for name, corpus in zip(
        ("train", "valid"), valid_of(Corpus.open(data, codec.sample_rate_hz), data, VALID), strict=True
    ):
        found.append(fit(encoded(codec, corpus, out / f"codes-{name}.safetensors"), reader, longest, faults))
        faults.found += corpus.faults.found
    return found[0], found[1]


def sample_output_2(case: DryRunCase) -> DryRunBatch:
    """A dry run's batch: texts with their codes, without the LLM's hidden states."""
    config = replace(case.config.decoder, thoughts=False)
    if case.options.get("letters") is False:
        config = replace(config, characters=0)
    if False in (case.options.get("letters"), case.options.get("phonemes")):
        config = replace(config, phonetic=False, paced=False)
    learner, batch, reader = speaking_parts(case, config)
    return DryRunBatch(SpeechDecoderStage(learner, reader, [], [], 1.0), batch, case.said(noun="texts"))


def speaking_parts(
    case: DryRunCase, config: SpeechDecoderConfig, hidden: Tensor | None = None
) -> tuple[SpeechDecoderLearner, DecoderBatch, TextReader]:
    """(module, batch, reader) of a dry run. `hidden` [n, D]: the LLM's states of each text, for prefix tuning."""
    frozen = case.frozen()
    with case.device:
        decoder = SpeechDecoder(config)
    reader = TextReader(frozen.backbone, case.config, phonetic=config.phonetic)
    frames = round(CLIP_S * trainable(case.config.codec).frame_rate_hz)
    codes = torch.zeros(config.codebooks, frames, dtype=torch.int64)
    lasting = torch.full((len(case.text),), frames / len(case.text))
    said = DecoderExample(case.text, codes, hidden, case.text, lasting)
    learner = SpeechDecoderLearner(decoder, embeddings_of(frozen))
    return learner, collate(reader, [said] * case.clips()), reader


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
@click.option("--data", multiple=True, type=PATH, help="Shards or a manifest of one voice's recordings; repeatable.")
@click.option("--latents", "folder", type=PATH, help="Folder of the voice's latents, instead.")
@click.option("--codec", "codec_folder", type=PATH, required=True, help="Folder of output stage 1.")
@click.option(
    "--letters/--no-letters", default=True, show_default=True, help="Letters beside tokens, if the model has them."
)
@click.option(
    "--phonemes/--spelt", default=True, show_default=True, help="Phonemes and their durations, if the model has them."
)
@click.option("--join", default=0.25, show_default=True, help="Chance that a batch's items are said in pairs.")
@click.option("--backbone", help="The LLM.  [default: the configuration's]")
@named_args("--backbone-args", "backbone")
def main(
    order: StageRun,
    data: Sequence[Path],
    folder: Path | None,
    codec_folder: Path,
    letters: bool,
    phonemes: bool,
    join: float,
    backbone: str | None,
    backbone_args: Mapping[str, str],
) -> None:
    """Trains output stage 2: the speech decoder, without the LLM's thoughts."""
    torch.manual_seed(order.loop.seed)
    if bool(data) == bool(folder):
        raise FobenchError("Give recordings (--data), or the voice's latents (--latents): one of the two.")
    state, faults = PartialState(), SkippedSamples()
    codec, wanted = load_codec(codec_folder).to(state.device), order.config.decoder
    config = replace(wanted, thoughts=False, characters=wanted.characters if letters else 0)  # stage 3 adds thoughts
    timed = phonemes and letters
    config = replace(config, phonetic=config.phonetic and timed, paced=config.paced and timed)
    if config.paced and not folder:
        raise FobenchError("Recordings do not tell how long each phoneme lasts: give --latents, or --spelt.")
    check_codes(codec, config)
    frozen = FrozenLLM.of_model(order.config, backbone, backbone_args, "cpu")  # only its embeddings are needed
    reader = TextReader(frozen.backbone, order.config, phonetic=config.phonetic)
    with state.main_process_first():
        if folder:
            reads = load_reader(codec_folder).to(state.device)
            texts = fit(
                spoken(codec, reads, folder, order.out / "codes.safetensors"), reader, config.max_frames, faults
            )
            kept = min(VALID, max(1, len(texts) // 10))
            train, valid = texts[kept:], texts[:kept]
        else:
            train, valid = from_recordings(codec, data, order.out, reader, config.max_frames, faults)
    if not train or not valid:
        raise FobenchError(f"Too few texts to learn from and to validate with. {len(faults)} were left out:\n{faults}")
    seconds = sum(one.codes.shape[1] for one in train) / codec.config.frame_rate_hz
    click.echo(f"{len(train):,} texts, {seconds / 3600:.1f} h", err=True)
    module = SpeechDecoderLearner(SpeechDecoder(config), embeddings_of(frozen))
    stage = SpeechDecoderStage(
        module, reader, train, valid, codec.config.frame_rate_hz, join, {"decoder": asdict(config)}, faults=faults
    )
    order.train(stage)


if __name__ == "__main__":
    main()
