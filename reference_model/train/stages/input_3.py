"""Trains input stage 3: after every chunk, whether to listen on, answer or ignore; and prompt embeddings, where the model has any.

    python -m reference_model.train.stages.input_3 --init runs/train/small.safetensors --data runs/data/input --out runs/train/input-3 \\
        --real ../shared/data/librispeech_train_clean_3spk/manifest.jsonl --noises ../shared/data/noise_misc --workers 2

Encoder, adapter and LLM are frozen. Of a model without prompts (small), what the head is to judge by is made once, kept in files,
and the head learns from it in a minute. With --replies FILE (see replies.py) a model with prompts (paper) learns to answer what it
hears as the LLM answers it in writing, and its states beside, or, of an adapter that spells, after it (prompts: folder `prompts`);
for one without, they are conversations that turns go on with.

In the output folder, `states.json` has the figures for texts, speakers and noises that it was not trained on, and, where --init is
a whole model, NAME.safetensors is that model with what was learnt. `--evaluate` only judges the model of --init.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch
from accelerate import PartialState
from torch import nn

from fobench.cli.options import named_args
from fobench.errors import FobenchError
from reference_model.checkpoint import loading
from reference_model.config import ModelConfig
from reference_model.model import FreezeOmni, new_prompt
from reference_model.train.engine.cost_estimate import DryRunBatch
from reference_model.train.engine.pretrained import PretrainedWeights
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.stages.dry_run import CLIP_S, NO_DATA, REPLY, DryRunCase, NoData
from reference_model.train.stages.stage_command import StageRun, stage_command
from reference_model.train.texts.llm_sentences import read_lines
from reference_model.train.turn_taking import head_metrics
from reference_model.train.turn_taking.example_sources import DETECTORS, ExampleSources
from reference_model.train.turn_taking.head_feature_cache import HeadFeatureCache, fingerprint
from reference_model.train.turn_taking.head_features import HeadFeatureExtractor, HeadFeatures
from reference_model.train.turn_taking.head_training import HeadBatch, StateHeadLearner, StateHeadStage, verdicts_of
from reference_model.train.turn_taking.prompt_tuning import Exchange, PromptTuningLearner, PromptTuningStage
from reference_model.train.turn_taking.vad_turns import VadTurn
from reference_model.turn_taking.state_head import StateHead, TurnState

PASTS = 24  # conversations that turns go on with
PROMPTS = "prompts"  # folder of their training, where the head learns after them
STATES = "states.json"


@dataclass(frozen=True, slots=True)
class Task:
    """A model, what it is to learn from, and where to."""

    order: StageRun
    model: FreezeOmni
    frozen: FrozenLLM
    material: ExampleSources
    replies: dict[str, str]  # by question
    counts: dict[str, int]  # situations of each split
    workers: int

    def impressions(self, split: str) -> list[HeadFeatures]:
        """Of all situations of a split, from files where they have been made before."""
        pasts = list(self.replies.items())[:PASTS]
        openings = self.material.openings(self.model, split, len(pasts))
        corpus, count = openings.pools.corpus, self.counts[split]
        print(f"{split}: {len(corpus)} clips, {corpus.hours:.1f} h, {len(corpus.faults)} skipped", flush=True)
        made_of = {**fingerprint(self.model, corpus), "pasts": pasts, "chances": openings.pools.chances}
        observer, store = (
            HeadFeatureExtractor(self.model, self.frozen, pasts),
            HeadFeatureCache(self.order.out / split, made_of),
        )
        return store.filled(
            observer, openings, count, self.workers, lambda done: print(f"{done} of {count} situations", flush=True)
        )

    def head_alone(self) -> None:
        """The head learns from impressions."""
        model = self.model
        valid, train = self.impressions("valid"), self.impressions("train")
        chunk_s = model.encoder.chunk * model.encoder.front.hop / model.encoder.front.rate_hz
        self.order.train(
            StateHeadStage(StateHeadLearner(model.state_head, model.prompt), train, valid, chunk_s, self.about())
        )

    def conversing(self, distil: bool) -> None:
        """Prompts and head learn through the LLM."""
        learner = PromptTuningLearner(self.model, self.frozen, distil)
        known = self.replies.__contains__
        openings = self.material.openings(self.model, "train", asked=known)
        unheard = self.material.openings(self.model, "valid")
        if not learner.observer.flows:
            openings, unheard = (replace(one, pools=one.pools.asking(known)) for one in (openings, unheard))
        valid = [unheard[number] for number in range(self.counts["valid"])]
        stage = PromptTuningStage(learner, openings, valid, self.replies, self.counts["train"], self.about())
        folder = self.order.out if learner.observer.flows else self.order.out / PROMPTS
        replace(self.order, out=folder, loop=replace(self.order.loop, workers=self.workers)).train(stage)
        self.frozen.check_unchanged()
        if not learner.observer.flows:
            self.model.state_head.requires_grad_(True)
            self.head_alone()

    def about(self) -> dict[str, Any]:
        """What the parts that learn depend on."""
        config = self.model.config
        sizes = {"llm_size": config.llm_size, "evidence": config.adapter.evidence}
        return {**sizes, "state_middle": config.state_middle, "prompts": config.prompts}

    def judge(self) -> None:
        """Writes the figures of the model's head."""
        found = head_metrics.report(verdicts_of(self.model.state_head, self.impressions("valid")))
        (self.order.out / STATES).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(found), flush=True)


def model_of(path: Path, config: ModelConfig) -> tuple[FreezeOmni, bool]:
    """(a model, whether it is whole): a whole model's checkpoint, or a new one with an earlier stage's encoder and adapter."""
    if str(path).startswith(loading.UNTRAINED):
        return loading.load(path, device="cpu"), True
    earlier = PretrainedWeights.read(path)
    if "llm_size" in earlier.config and "encoder" in earlier.config:
        return loading.load(earlier.path, device="cpu"), True
    data = config.to_json()
    parts = {name: {**data[name], **(earlier.about(name) or {})} for name in ("encoder", "adapter")}
    model = FreezeOmni(ModelConfig.from_json({**data, **parts}))
    for name in parts:
        earlier.give(getattr(model, name), name, getattr(model.config, name))
    return model.eval(), False


def with_fresh_head(model: FreezeOmni, middle: int, prompts: int, seed: int) -> FreezeOmni:
    """The same model, with a new state head, and new prompts unless it has so many already."""
    config = model.config
    torch.manual_seed(seed)
    model.config = replace(config, state_middle=middle, prompts=prompts)
    model.state_head = StateHead(config.llm_size, config.adapter.evidence, middle)
    if prompts != config.prompts:
        model.prompt = new_prompt(model.config)
    return model


def sample_input_3(case: DryRunCase) -> DryRunBatch:
    """A dry run's batch: turns with replies, or, for a model without prompts, the state head's cached inputs."""
    config = case.config
    if not config.prompts:
        return _sample_state_head(case)
    with case.device:
        model = FreezeOmni(replace(config, codec=replace(config.codec)))
    model.codec = model.decoder = nn.Identity()  # neither is there
    learner = PromptTuningLearner(model, case.frozen(), bool(case.options.get("distil")))
    chunk_s = model.encoder.chunk * model.encoder.front.hop / model.encoder.front.rate_hz
    chunks = round(CLIP_S / chunk_s)
    features = torch.zeros(chunks * model.encoder.chunk, model.encoder.front.mels)
    since = torch.arange(chunks) * chunk_s - CLIP_S
    turn = VadTurn("question", TurnState.ANSWER, features, None, 0, since, case.text)
    batch = [Exchange(turn, tuple(range(8, 8 + REPLY)))] * case.clips()
    return DryRunBatch(PromptTuningStage(learner, NO_DATA, (), {}, 0), batch, case.said(noun="turns"))


def _sample_state_head(case: DryRunCase) -> DryRunBatch:
    """A batch of the state head alone: vectors [B, chunks, LLM size + evidence] that were computed before."""
    config, encoder = case.config, NoData(case).encoder()
    chunk_s = encoder.chunk * encoder.front.hop / encoder.front.rate_hz
    chunks, evidence = round(CLIP_S / chunk_s), config.adapter.evidence
    with case.device:
        learner = StateHeadLearner(StateHead(config.llm_size, evidence, config.state_middle))
    vectors = torch.zeros(case.clips(), chunks, config.llm_size + evidence, device=case.device)
    batch = HeadBatch(vectors, torch.zeros(vectors.shape[:2], dtype=torch.long, device=case.device))
    return DryRunBatch(StateHeadStage(learner, (), (), chunk_s), batch, case.said(noun="turns"))


@stage_command("small", sample=sample_input_3, lr=1e-3, steps=2000, warmup=50, batch_s=200.0, validate_every=250)
@click.option(
    "--init", type=click.Path(path_type=Path), required=True, help="A model's checkpoint, or a folder of stage 1 or 2."
)
@click.option("--data", multiple=True, type=Path, required=True, help="Folder of shards, or manifest; repeatable.")
@click.option("--real", multiple=True, type=Path, help="Manifest of people's sentences; repeatable.")
@click.option("--noises", multiple=True, type=Path, help="Folder of recorded noises; repeatable.")
@click.option("--rooms", multiple=True, type=Path, help="Folder of room responses; repeatable.")
@click.option("--replies", type=Path, help="What the LLM answers to the questions in writing.")
@click.option("--distil", is_flag=True, help="Learn its distribution over the reply, and not the reply alone.")
@click.option("--count", default=6000, show_default=True, help="Situations (an epoch); a tenth more to validate.")
@click.option("--workers", default=0, show_default=True, help="Processes that make the situations' sound.")
@click.option(
    "--vad", type=click.Choice(list(DETECTORS)), help="What opens turns. Default: what the model's settings say."
)
@click.option("--backbone", help="The frozen LLM.  [default: the model's]")
@named_args("--backbone-args", "backbone")
@click.option("--evaluate", is_flag=True, help="Only judge the model of --init, as it is.")
def main(
    order: StageRun,
    init: Path,
    data: Sequence[Path],
    real: Sequence[Path],
    noises: Sequence[Path],
    rooms: Sequence[Path],
    replies: Path | None,
    distil: bool,
    count: int,
    workers: int,
    vad: str | None,
    backbone: str | None,
    backbone_args: Mapping[str, str],
    evaluate: bool,
) -> None:
    """Trains input stage 3: the state head, and prompt embeddings where the model has any."""
    device = PartialState().device
    model, whole = model_of(init, order.config)
    lines = read_lines(replies) if replies else []
    known = {line["question"]: line["reply"] for line in lines if line["reply"].strip()}
    if not evaluate:
        prompts = model.config.prompts or (order.config.prompts if known else 0)
        model = with_fresh_head(model, order.config.state_middle, prompts, order.loop.seed)
    frozen, model = FrozenLLM.of_model(model.config, backbone, backbone_args, device), model.to(device)
    if not str(init).startswith(loading.UNTRAINED):
        PretrainedWeights.read(init).check_backbone(frozen.backbone.name)
    material = ExampleSources(data, real, noises, rooms, DETECTORS[vad or model.config.settings.duplex.vad])
    counts = {"train": count, "valid": max(1, count // 10)}
    task = Task(order, model, frozen, material, known, counts, workers)
    if not evaluate:
        if known and model.config.prompts:
            task.conversing(distil)
        elif distil:
            raise FobenchError("--distil needs --replies, and a model with prompts to learn.")
        else:
            task.head_alone()
    if PartialState().is_main_process:
        task.judge()
        if whole and not evaluate:
            loading.save(model, order.out / f"{model.config.name}.safetensors")


if __name__ == "__main__":
    main()
