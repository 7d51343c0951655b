"""Input stage 2, adapter training through the frozen LLM (Freeze-Omni, arXiv 2411.00774, section 3.2).

    fobench train input-2 --config paper --init runs/train/input-1 --data runs/data/input --out runs/train/input-2

Trains encoder, embedding adapter and prompt embeddings on transcribed speech; the loss is the cross-entropy of the transcript's tokens
through the frozen LLM. A model with a CTC adapter passes text to the LLM and skips this stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch
from accelerate import PartialState

from fobench.cli.options import named_args
from fobench.errors import FobenchError
from reference_model.speech_input.adapter import AdapterConfig
from reference_model.speech_input.log_mel import RATE_HZ
from reference_model.train.data.data_options import PATH, DataSources, with_sources
from reference_model.train.engine.cost_estimate import DryRunBatch
from reference_model.train.engine.pretrained import PretrainedWeights
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.speech_input.initialization import PRETRAINED_LR_SCALE, Initializer
from reference_model.train.speech_input.llm_transcription import TranscriptionLearner, TranscriptionStage
from reference_model.train.stages.dry_run import NO_DATA, DryRunCase, NoData
from reference_model.train.stages.stage_command import StageRun, stage_command


def build_learner(initializer: Initializer, frozen: FrozenLLM) -> TranscriptionLearner:
    """Builds the learner; encoder, adapter and prompt come from the pretrained weights where these have them."""
    config = initializer.config
    if not isinstance(config.adapter, AdapterConfig):
        raise FobenchError(
            f"Input stage 2 is for adapters of kind rows; {config.name} has a CTC adapter. Continue with input-3."
        )
    encoder, adapter = initializer.encoder(), config.adapter.build()
    initializer.load_part(adapter, "adapter", config.adapter)
    prompt = torch.randn(config.prompts, config.llm_size) * 0.02
    return TranscriptionLearner(encoder, adapter, initializer.tensor("prompt", prompt), frozen)


def sample_input_2(case: DryRunCase) -> DryRunBatch:
    """Makes the dry run's batch: clips of speech, transcribed by the LLM."""
    initializer: Any = NoData(case)
    module = build_learner(initializer, case.frozen_llm())
    stage = TranscriptionStage(module=module, batcher=NO_DATA, valid=(), about={})
    return DryRunBatch(stage, case.asr_batch(module.encoder, clean=False), case.describe_batch())


@stage_command(
    config="paper",
    sample=sample_input_2,
    steps=4000,
    lr=3e-4,
    warmup=200,
    batch_s=80.0,
    batch_most=32,
    precision="bf16",
    workers=1,
)
@with_sources
@click.option("--init", type=PATH, help="Folder or file of input stage 1 to start from.")
@click.option("--dynamic", is_flag=True, help="Dynamic chunk training: draw the chunk size of every batch.")
@click.option("--backbone", help="The frozen LLM.  [default: the configuration's]")
@named_args("--backbone-args", "backbone")
def main(
    run: StageRun,
    sources: DataSources,
    init: Path | None,
    dynamic: bool,
    backbone: str | None,
    backbone_args: Mapping[str, str],
) -> None:
    """Trains input stage 2: encoder, adapter and prompt embeddings through the frozen LLM."""
    torch.manual_seed(run.loop.seed)
    config, device = run.config, PartialState().device
    corpus = sources.corpus(RATE_HZ)
    initializer = Initializer(config, corpus, PretrainedWeights.read(init) if init else None)
    frozen = FrozenLLM.of_model(config, backbone, backbone_args, device)
    module = build_learner(initializer, frozen)
    batcher = sources.batcher(corpus, module.encoder, run.loop.seed, dynamic, clean=False)
    about = {
        "encoder": asdict(config.encoder),
        "adapter": asdict(config.adapter),
        "prompts": config.prompts,
        "backbone": frozen.backbone.name,
    }
    device_batcher = sources.device_batcher(batcher, run.device)
    stage = TranscriptionStage(
        module=module,
        batcher=device_batcher,
        valid=sources.validation_sets(batcher),
        about=about,
        encoder_lr=PRETRAINED_LR_SCALE if initializer.is_pretrained else 1.0,
    )
    count = sum(p.numel() for p in module.parameters())
    click.echo(f"{len(corpus):,} clips, {corpus.hours:.1f} h; {count / 1e6:.2f} M parameters", err=True)
    (run.in_process() if sources.on_device else run).train(stage)
    frozen.check_unchanged()


if __name__ == "__main__":
    main()
