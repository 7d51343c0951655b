"""Trains input stage 2: encoder, adapter and prompt learn through the frozen LLM, which is to write down what is said.

    python -m reference_model.train.stages.input_2 --config paper --init runs/train/input-1 --data runs/data/input --out runs/train/input-2

For adapters whose outputs are rows for the LLM; one that spells gives it plain text, and has nothing to learn here.
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
from reference_model.train.speech_input.initialization import WARM, Initializer
from reference_model.train.speech_input.llm_transcription import TranscriptionLearner, TranscriptionStage
from reference_model.train.stages.dry_run import NO_DATA, DryRunCase, NoData
from reference_model.train.stages.stage_command import StageRun, stage_command


def learner(start: Initializer, frozen: FrozenLLM) -> TranscriptionLearner:
    """With what the earlier training has of encoder, adapter and prompt; the rest is new."""
    config = start.config
    if not isinstance(config.adapter, AdapterConfig):
        raise FobenchError(
            f"Input stage 2 is for adapters of kind rows; that of {config.name} spells. Go on with input 3."
        )
    encoder, adapter = start.encoder(), config.adapter.build()
    start.give(adapter, "adapter", config.adapter)
    prompt = torch.randn(config.prompts, config.llm_size) * 0.02
    return TranscriptionLearner(encoder, adapter, start.tensor("prompt", prompt), frozen)


def sample_input_2(case: DryRunCase) -> DryRunBatch:
    """A dry run's batch: clips of speech, to be transcribed by the LLM."""
    start: Any = NoData(case)
    module = learner(start, case.frozen())
    stage = TranscriptionStage(module, NO_DATA, (), {})
    return DryRunBatch(stage, case.heard(module.encoder, clean=False), case.said())


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
@click.option("--init", type=PATH, help="Folder or file of the training of input stage 1 to begin with.")
@click.option("--dynamic", is_flag=True, help="Draw the chunk size of every batch (dynamic chunk training).")
@click.option("--backbone", help="The frozen LLM.  [default: the configuration's]")
@named_args("--backbone-args", "backbone")
def main(
    order: StageRun,
    sources: DataSources,
    init: Path | None,
    dynamic: bool,
    backbone: str | None,
    backbone_args: Mapping[str, str],
) -> None:
    """Trains input stage 2: encoder, adapter and prompt, through the frozen LLM."""
    torch.manual_seed(order.loop.seed)
    config, device = order.config, PartialState().device
    corpus = sources.corpus(RATE_HZ)
    start = Initializer(config, corpus, PretrainedWeights.read(init) if init else None)
    frozen = FrozenLLM.of_model(config, backbone, backbone_args, device)
    module = learner(start, frozen)
    listening = sources.listening(corpus, module.encoder, order.loop.seed, dynamic, clean=False)
    about = {
        "encoder": asdict(config.encoder),
        "adapter": asdict(config.adapter),
        "prompts": config.prompts,
        "backbone": frozen.backbone.name,
    }
    placed = sources.placed(listening, order.device)
    stage = TranscriptionStage(module, placed, sources.valid_sets(listening), about, WARM if start.warm else 1.0)
    count = sum(p.numel() for p in module.parameters())
    click.echo(f"{len(corpus):,} clips, {corpus.hours:.1f} h; {count / 1e6:.2f} M parameters", err=True)
    (order.in_process() if sources.on_device else order).train(stage)
    frozen.check_unchanged()


if __name__ == "__main__":
    main()
