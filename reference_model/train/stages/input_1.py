"""Trains input stage 1: the encoder learns by CTC what is said, and with it an adapter that spells, if the model has one.

    python -m reference_model.train.stages.input_1 --data runs/data/input --out runs/train/input-1

An encoder of Whisper's kind starts from Whisper tiny.en, made chunk-causal, and stays near what that hears in full context; the
paper's starts from nothing. An adapter whose outputs are rows for the LLM can learn as well: --space llm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import torch

from fobench.cli.options import named_args
from fobench.errors import FobenchError
from reference_model.speech_input.adapter import AdapterConfig
from reference_model.speech_input.ctc_adapter import CTCAdapterConfig
from reference_model.speech_input.log_mel import RATE_HZ
from reference_model.speech_input.whisper_encoder import WhisperConfig, WhisperStreamingEncoder
from reference_model.train.data.data_options import PATH, DataSources, with_sources
from reference_model.train.engine.cost_estimate import DryRunBatch
from reference_model.train.engine.pretrained import PretrainedWeights
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.speech_input.ctc import (
    CTCAdapterLearner,
    CTCLearner,
    CTCStage,
    EncoderLearner,
    LLMSpaceLearner,
    UniformAlignmentWeight,
)
from reference_model.train.speech_input.initialization import WARM, Initializer, teacher_of
from reference_model.train.speech_input.llm_space_ctc import LLMTokenVocabulary
from reference_model.train.stages.dry_run import NO_DATA, DryRunCase, NoData
from reference_model.train.stages.stage_command import StageRun, stage_command

HEAD_HZ = 25.0  # outputs a second of a head that is thrown away: enough for the units of fast speech

Made = tuple[CTCLearner, dict[str, Any]]  # a learner, and what it is made of


def unit_learner(start: Initializer, teacher: WhisperStreamingEncoder | None, units_file: Path) -> Made:
    """For an adapter that spells, or for the encoder alone."""
    encoder, units = start.encoder(), start.units(units_file)
    if isinstance(start.config.adapter, CTCAdapterConfig):
        config = replace(start.config.adapter, units=units.merges)
        adapter = config.build()
        start.give(adapter, "adapter", config)
        return CTCAdapterLearner(encoder, adapter, teacher), {"adapter": asdict(config)}
    stride = max(1, round(encoder.frame_rate_hz / HEAD_HZ))
    config = CTCAdapterConfig(encoder.size, units.merges, kernel=3 * stride, stride=stride, hidden=encoder.size)
    head = config.build()
    start.give(head, "head", config)
    return EncoderLearner(encoder, head, teacher), {"head": asdict(config)}


def token_learner(start: Initializer, teacher: WhisperStreamingEncoder | None, frozen: FrozenLLM) -> Made:
    """For an adapter whose outputs are rows, in the space of the LLM's embeddings."""
    config = start.config.adapter
    if not isinstance(config, AdapterConfig):
        raise FobenchError(f"--space llm is for adapters of kind rows; that of {start.config.name} spells.")
    encoder, adapter = start.encoder(), config.build()
    start.give(adapter, "adapter", config)
    tokens = LLMTokenVocabulary.of(frozen.backbone, [entry.text for entry in start.corpus.entries])
    learner = LLMSpaceLearner(encoder, adapter, tokens, frozen.embed(tokens.ids), teacher)
    if start.earlier:
        start.earlier.fill(learner.space, "space")
    return learner, {"adapter": asdict(config), "tokens": list(tokens.ids), "backbone": frozen.backbone.name}


def sample_input_1(case: DryRunCase) -> DryRunBatch:
    """A dry run's batch: clips of speech, with the teacher's features where the encoder stays near them."""
    teacher = None
    if isinstance(case.config.encoder, WhisperConfig) and case.options.get("near") is not False:
        with case.device:
            teacher = WhisperConfig().build()
        teacher.requires_grad_(False).eval()
    start: Any = NoData(case)
    if case.options.get("space") == "llm":
        learner, _ = token_learner(start, teacher, case.frozen())
    else:
        learner, _ = unit_learner(start, teacher, Path())
    batch = case.heard(learner.encoder, clean=teacher is not None)
    return DryRunBatch(CTCStage(learner, NO_DATA, (), {}, UniformAlignmentWeight()), batch, case.said())


@stage_command(
    config="small",
    sample=sample_input_1,
    steps=6000,
    lr=1e-3,
    warmup=300,
    batch_s=160.0,
    batch_most=96,
    precision="bf16",
    workers=1,
)
@with_sources
@click.option("--near/--free", default=None, help="Stay near Whisper's full-context features.  [default: if it can]")
@click.option("--dynamic", is_flag=True, help="Draw the chunk size of every batch (dynamic chunk training).")
@click.option("--even", default=1.0, show_default=True, help="Weight of evenly spread units, at first.")
@click.option("--even-steps", default=600, show_default=True, help="Steps over which it falls to 0.")
@click.option("--init", type=PATH, help="Folder or file of an earlier training to begin with.")
@click.option(
    "--space", type=click.Choice(["units", "llm"]), default="units", show_default=True, help="Of CTC: see above."
)
@click.option("--backbone", help="LLM of --space llm.  [default: the configuration's]")
@named_args("--backbone-args", "backbone")
def main(
    order: StageRun,
    sources: DataSources,
    near: bool | None,
    dynamic: bool,
    even: float,
    even_steps: int,
    init: Path | None,
    space: str,
    backbone: str | None,
    backbone_args: Mapping[str, str],
) -> None:
    """Trains input stage 1: the encoder, by CTC.

    CTC reads units of writing; or, for an adapter whose outputs are rows for the LLM, tokens in the LLM's embedding space.
    """
    torch.manual_seed(order.loop.seed)
    config = order.config
    near = isinstance(config.encoder, WhisperConfig) if near is None else near
    teacher = teacher_of(config) if near else None
    start = Initializer(config, sources.corpus(RATE_HZ), PretrainedWeights.read(init) if init else None)
    if space == "llm":
        frozen = FrozenLLM.of_model(config, backbone, backbone_args, "cpu")  # only its embeddings are needed
        learner, parts = token_learner(start, teacher, frozen)
    else:
        learner, parts = unit_learner(start, teacher, order.out / "units.json")
    encoder = learner.encoder
    listening = sources.listening(
        start.corpus,
        encoder,
        order.loop.seed,
        dynamic,
        writing=learner.writing,
        spacing=learner.spacing,
        clean=near,
    )
    about = {"encoder": asdict(encoder.config), **parts, "near": near}
    valid = sources.valid_sets(listening)
    placed = sources.placed(listening, order.device)
    stage = CTCStage(
        learner, placed, valid, about, UniformAlignmentWeight(even, even_steps), WARM if start.warm else 1.0
    )
    hours, count = start.corpus.hours, sum(p.numel() for p in learner.parameters())
    click.echo(f"{len(start.corpus):,} clips, {hours:.1f} h; {count / 1e6:.2f} M parameters", err=True)
    (order.in_process() if sources.on_device else order).train(stage)


if __name__ == "__main__":
    main()
