"""Input stage 1, ASR pretraining (Freeze-Omni, arXiv 2411.00774, section 3.2): trains the speech encoder with CTC on transcribed speech.

    fobench train input-1 --data runs/data/input --out runs/train/input-1

A CTC adapter is trained together with the encoder; any other model gets a CTC head that is discarded. A Whisper encoder starts from
Whisper tiny.en, made chunk-causal, with a distillation loss to the frames of full-context Whisper; the paper's encoder starts from
random initialization. With --space llm an embedding adapter is trained too, by CTC over the LLM's token embeddings.
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
from reference_model.train.speech_input.initialization import PRETRAINED_LR_SCALE, Initializer, load_teacher
from reference_model.train.speech_input.llm_space_ctc import LLMTokenVocabulary
from reference_model.train.stages.dry_run import NO_DATA, DryRunCase, NoData
from reference_model.train.stages.stage_command import StageRun, stage_command

HEAD_HZ = 25.0  # outputs per second of the discarded head: enough for the BPE tokens of fast speech

LearnerParts = tuple[CTCLearner, dict[str, Any]]  # (learner, configurations of its parts)


def build_bpe_learner(
    initializer: Initializer, teacher: WhisperStreamingEncoder | None, units_file: Path
) -> LearnerParts:
    """Builds the CTC learner over BPE tokens: of encoder and CTC adapter, or of the encoder alone."""
    encoder, units = initializer.encoder(), initializer.units(units_file)
    if isinstance(initializer.config.adapter, CTCAdapterConfig):
        config = replace(initializer.config.adapter, units=units.merges)
        adapter = config.build()
        initializer.load_part(adapter, "adapter", config)
        return CTCAdapterLearner(encoder, adapter, teacher), {"adapter": asdict(config)}
    stride = max(1, round(encoder.frame_rate_hz / HEAD_HZ))
    config = CTCAdapterConfig(encoder.size, units.merges, kernel=3 * stride, stride=stride, hidden=encoder.size)
    head = config.build()
    initializer.load_part(head, "head", config)
    return EncoderLearner(encoder, head, teacher), {"head": asdict(config)}


def build_llm_space_learner(
    initializer: Initializer, teacher: WhisperStreamingEncoder | None, frozen: FrozenLLM
) -> LearnerParts:
    """Builds the CTC learner of encoder and embedding adapter in the LLM's embedding space."""
    config = initializer.config.adapter
    if not isinstance(config, AdapterConfig):
        raise FobenchError(f"--space llm is for adapters of kind rows; {initializer.config.name} has a CTC adapter.")
    encoder, adapter = initializer.encoder(), config.build()
    initializer.load_part(adapter, "adapter", config)
    tokens = LLMTokenVocabulary.of(frozen.backbone, [entry.text for entry in initializer.corpus.entries])
    learner = LLMSpaceLearner(encoder, adapter, tokens, frozen.embed(tokens.ids), teacher)
    if initializer.pretrained:
        initializer.pretrained.fill(learner.space, "space", optional=True)
    return learner, {"adapter": asdict(config), "tokens": list(tokens.ids), "backbone": frozen.backbone.name}


def sample_input_1(case: DryRunCase) -> DryRunBatch:
    """Makes the dry run's batch: clips of speech, with clean features where there is a distillation loss."""
    teacher = None
    if isinstance(case.config.encoder, WhisperConfig) and case.options.get("distill") is not False:
        with case.device:
            teacher = WhisperConfig().build()
        teacher.requires_grad_(False).eval()
    initializer: Any = NoData(case)
    if case.options.get("space") == "llm":
        learner, _ = build_llm_space_learner(initializer, teacher, case.frozen_llm())
    else:
        learner, _ = build_bpe_learner(initializer, teacher, Path())
    batch = case.asr_batch(learner.encoder, clean=teacher is not None)
    return DryRunBatch(
        CTCStage(module=learner, batcher=NO_DATA, valid=(), about={}, alignment_weight=UniformAlignmentWeight()),
        batch,
        case.describe_batch(),
    )


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
@click.option(
    "--near/--free", "distill", default=None, help="Distill from full-context Whisper.  [default: where possible]"
)
@click.option("--dynamic", is_flag=True, help="Dynamic chunk training: draw the chunk size of every batch.")
@click.option(
    "--even", "alignment_weight", default=1.0, show_default=True, help="Initial weight of the uniform alignment loss."
)
@click.option(
    "--even-steps", "alignment_steps", default=600, show_default=True, help="Steps over which that weight falls to 0."
)
@click.option("--init", type=PATH, help="Folder or file of pretrained weights.")
@click.option(
    "--space",
    type=click.Choice(["units", "llm"]),
    default="units",
    show_default=True,
    help="CTC targets: BPE tokens, or LLM token embeddings.",
)
@click.option("--backbone", help="LLM of --space llm.  [default: the configuration's]")
@named_args("--backbone-args", "backbone")
def main(
    run: StageRun,
    sources: DataSources,
    distill: bool | None,
    dynamic: bool,
    alignment_weight: float,
    alignment_steps: int,
    init: Path | None,
    space: str,
    backbone: str | None,
    backbone_args: Mapping[str, str],
) -> None:
    """Trains input stage 1, ASR pretraining: the speech encoder, with CTC.

    The CTC targets are BPE tokens or, for an embedding adapter (--space llm), tokens in the LLM's embedding space.
    """
    torch.manual_seed(run.loop.seed)
    config = run.config
    distill = isinstance(config.encoder, WhisperConfig) if distill is None else distill
    teacher = load_teacher(config) if distill else None
    initializer = Initializer(config, sources.corpus(RATE_HZ), PretrainedWeights.read(init) if init else None)
    if space == "llm":
        frozen = FrozenLLM.of_model(config, backbone, backbone_args, "cpu")  # only its embeddings are needed
        learner, parts = build_llm_space_learner(initializer, teacher, frozen)
    else:
        learner, parts = build_bpe_learner(initializer, teacher, run.out / "units.json")
    encoder = learner.encoder
    batcher = sources.batcher(
        initializer.corpus,
        encoder,
        run.loop.seed,
        dynamic,
        vocabulary=learner.vocabulary,
        spacing=learner.spacing,
        clean=distill,
    )
    about = {"encoder": asdict(encoder.config), **parts, "near": distill}
    valid = sources.validation_sets(batcher)
    device_batcher = sources.device_batcher(batcher, run.device)
    stage = CTCStage(
        module=learner,
        batcher=device_batcher,
        valid=valid,
        about=about,
        alignment_weight=UniformAlignmentWeight(alignment_weight, alignment_steps),
        encoder_lr=PRETRAINED_LR_SCALE if initializer.is_pretrained else 1.0,
    )
    hours, count = initializer.corpus.hours, sum(p.numel() for p in learner.parameters())
    click.echo(f"{len(initializer.corpus):,} clips, {hours:.1f} h; {count / 1e6:.2f} M parameters", err=True)
    (run.in_process() if sources.on_device else run).train(stage)


if __name__ == "__main__":
    main()
