"""Input stage 3, prompt and turn-state training (Freeze-Omni, arXiv 2411.00774, sections 3.2 and 3.4).

    fobench train input-3 --init runs/train/small.safetensors --data runs/data/input --out runs/train/input-3 \\
        --real ../shared/data/librispeech_train_clean_3spk/manifest.jsonl --noises ../shared/data/noise_misc --workers 2

Trains the state head, which classifies every chunk as keep listening, answer or ignore, with cross-entropy on labeled turn-taking
examples, and prompt embeddings, with the cross-entropy of the LLM's own replies to spoken questions. Encoder, adapter and LLM are
frozen.

A model without prompts (small) trains the head alone, on inputs that are extracted once and cached; what the head sees, the
configuration says (`state_inputs`). A head that sees no hidden states fits any LLM, and learns better what all of them have in
common from several: --backbone is repeatable, and each extracts its share of the examples. With --replies FILE, made by
fobench train replies, a model with prompts (paper) trains prompts and head jointly; with a CTC adapter, first the prompts (folder
`prompts`), then the head. For a model without prompts the replies serve as preceding conversations.

The output folder gets `states.json`, the metrics on held-out texts, speakers and noises, and, where --init is a complete model,
NAME.safetensors, that model with the trained parts. `--evaluate` only evaluates the model of --init.
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

from fobench.api.option_strings import options_for
from fobench.atomic_files import plain_name, write_text
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
from reference_model.train.turn_taking.head_training import HeadBatch, StateHeadLearner, StateHeadStage, decisions_of
from reference_model.train.turn_taking.prompt_tuning import Exchange, PromptTuningLearner, PromptTuningStage
from reference_model.train.turn_taking.vad_turns import VadTurn
from reference_model.turn_taking.state_head import StateHead, TurnState

HISTORIES = 24  # preceding conversations
PROMPTS = "prompts"  # folder of prompt training, where the head is trained afterwards
STATES = "states.json"


@dataclass(frozen=True, slots=True)
class Task:
    """A training run of stage 3: model, frozen LLM, data and options."""

    run: StageRun
    model: FreezeOmni
    frozen: FrozenLLM  # the first one, in the validation as well
    further: Sequence[FrozenLLM]
    sources: ExampleSources
    replies: dict[str, str]  # by question
    counts: dict[str, int]  # examples of each split
    workers: int
    listen_weight: float

    def head_features(self, split: str) -> list[HeadFeatures]:
        """Returns the head's inputs for all examples of a split, from the cache where possible.

        Of several LLMs each extracts as many, from the same examples; they are validated with the first.
        """
        found = self._extract(split, self.frozen, self.run.out / split)
        for number, llm in enumerate(self.further if split == "train" else (), 2):
            found += self._extract(split, llm, self.run.out / f"{split}-{number}")
        return found

    def _extract(self, split: str, frozen: FrozenLLM, folder: Path) -> list[HeadFeatures]:
        histories = list(self.replies.items())[:HISTORIES]
        dataset = self.sources.turns(self.model, split, len(histories))
        corpus, count = dataset.pools.corpus, self.counts[split]
        print(f"{split}: {len(corpus)} clips, {corpus.hours:.1f} h, {len(corpus.faults)} skipped", flush=True)
        provenance = {
            **fingerprint(self.model, corpus, frozen.backbone.name),
            "pasts": histories,
            "chances": dataset.pools.probabilities,
        }
        extractor, cache = (
            HeadFeatureExtractor(self.model, frozen, histories),
            HeadFeatureCache(folder, provenance),
        )
        return cache.load_or_extract(
            extractor, dataset, count, self.workers, lambda done: print(f"{done} of {count} examples", flush=True)
        )

    def train_head(self) -> None:
        """Trains the head on cached inputs."""
        model = self.model
        valid, train = self.head_features("valid"), self.head_features("train")
        chunk_s = model.encoder.chunk * model.encoder.front.hop / model.encoder.front.rate_hz
        self.run.train(
            StateHeadStage(
                StateHeadLearner(model.state_head, model.prompt, self.listen_weight),
                train,
                valid,
                chunk_s,
                self.about(),
            )
        )

    def train_prompts(self, distil: bool) -> None:
        """Trains prompts and head through the LLM; with a CTC adapter, the head afterwards."""
        learner = PromptTuningLearner(self.model, self.frozen, distil)
        known = self.replies.__contains__
        dataset = self.sources.turns(self.model, "train", accepts_text=known)
        validation_turns = self.sources.turns(self.model, "valid")
        if not learner.extractor.streams_embeddings:
            dataset, validation_turns = (
                replace(one, pools=one.pools.answerable(known)) for one in (dataset, validation_turns)
            )
        valid = [validation_turns[number] for number in range(self.counts["valid"])]
        stage = PromptTuningStage(learner, dataset, valid, self.replies, self.counts["train"], self.about())
        folder = self.run.out if learner.extractor.streams_embeddings else self.run.out / PROMPTS
        replace(self.run, out=folder, loop=replace(self.run.loop, workers=self.workers)).train(stage)
        self.frozen.check_unchanged()
        if not learner.extractor.streams_embeddings:
            self.model.state_head.requires_grad_(True)
            self.train_head()

    def about(self) -> dict[str, Any]:
        """Returns the configuration of the trained parts, for the checkpoint."""
        config = self.model.config
        tied = bool(config.prompts) or "hidden" in config.state_inputs
        sizes = {"llm_size": config.llm_size if tied else 0, "evidence": config.adapter.evidence}
        head: dict[str, Any] = {"state_middle": config.state_middle, "state_memory": config.state_memory}
        head |= {"state_inputs": list(config.state_inputs)}
        return {**sizes, **head, "prompts": config.prompts}

    def evaluate_head(self) -> None:
        """Writes the metrics of the model's head to `states.json`, and prints them."""
        report = head_metrics.report(decisions_of(self.model.state_head, self.head_features("valid")))
        write_text(self.run.out / STATES, json.dumps(report, indent=1) + "\n")
        print(json.dumps(report), flush=True)


def load_model(path: Path, config: ModelConfig) -> tuple[FreezeOmni, bool]:
    """Loads (a model, whether its checkpoint is a complete model): complete, or new with an earlier stage's encoder and
    adapter."""
    if str(path).startswith(loading.UNTRAINED):
        return loading.load(path, device="cpu"), True
    pretrained = PretrainedWeights.read(path)
    if "llm_size" in pretrained.config and "encoder" in pretrained.config:
        return loading.load(pretrained.path, device="cpu"), True
    data = config.to_json()
    parts = {name: {**data[name], **(pretrained.part_config(name) or {})} for name in ("encoder", "adapter")}
    model = FreezeOmni(ModelConfig.from_json({**data, **parts}))
    for name in parts:
        pretrained.fill_checked(getattr(model, name), name, getattr(model.config, name))
    return model.eval(), False


def with_new_head(model: FreezeOmni, head: ModelConfig, prompts: int, seed: int) -> FreezeOmni:
    """Gives the model a new state head as the configuration `head` has it, and new prompts unless it has as many already;
    returns it."""
    config = model.config
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"state_middle": head.state_middle, "state_memory": head.state_memory, "prompts": prompts}
    model.config = replace(config, state_inputs=head.state_inputs, **sizes)
    model.state_head = StateHead(model.config.head_size, head.state_middle, head.state_memory)
    if prompts != config.prompts:
        model.prompt = new_prompt(model.config)
    return model


def sample_input_3(case: DryRunCase) -> DryRunBatch:
    """Makes the dry run's batch: turns with replies, or, for a model without prompts, cached inputs of the state
    head."""
    config = case.config
    if not config.prompts:
        return _sample_state_head(case)
    with case.device:
        model = FreezeOmni(replace(config, codec=replace(config.codec)))
    for unused in ("codec", "decoder"):
        model.add_module(unused, nn.Identity())
    learner = PromptTuningLearner(model, case.frozen_llm(), bool(case.options.get("distil")))
    chunk_s = model.encoder.chunk * model.encoder.front.hop / model.encoder.front.rate_hz
    chunks = round(CLIP_S / chunk_s)
    features = torch.zeros(chunks * model.encoder.chunk, model.encoder.front.mels)
    since = torch.arange(chunks) * chunk_s - CLIP_S
    turn = VadTurn("question", TurnState.ANSWER, features, None, 0, since, case.transcript)
    batch = [Exchange(turn, tuple(range(8, 8 + REPLY)))] * case.clip_count()
    return DryRunBatch(PromptTuningStage(learner, NO_DATA, (), {}, 0), batch, case.describe_batch(noun="turns"))


def _sample_state_head(case: DryRunCase) -> DryRunBatch:
    """Makes a batch of the state head alone: cached inputs [B, chunks, N]."""
    config, encoder = case.config, NoData(case).encoder()
    chunk_s = encoder.chunk * encoder.front.hop / encoder.front.rate_hz
    chunks = round(CLIP_S / chunk_s)
    with case.device:
        learner = StateHeadLearner(StateHead(config.head_size, config.state_middle, config.state_memory))
    vectors = torch.zeros(case.clip_count(), chunks, config.head_size, device=case.device)
    batch = HeadBatch(vectors, torch.zeros(vectors.shape[:2], dtype=torch.long, device=case.device))
    return DryRunBatch(StateHeadStage(learner, (), (), chunk_s), batch, case.describe_batch(noun="turns"))


@stage_command("small", sample=sample_input_3, lr=1e-3, steps=2000, warmup=50, batch_s=200.0, validate_every=250)
@click.option(
    "--init",
    type=click.Path(path_type=Path),
    required=True,
    help="A model's checkpoint, or a folder of input stage 1 or 2.",
)
@click.option("--data", multiple=True, type=Path, required=True, help="Folder of shards, or manifest; repeatable.")
@click.option("--real", multiple=True, type=Path, help="Manifest of real recordings of sentences; repeatable.")
@click.option("--noises", multiple=True, type=Path, help="Folder of noise recordings; repeatable.")
@click.option("--rooms", multiple=True, type=Path, help="Folder of room impulse responses; repeatable.")
@click.option("--replies", type=Path, help="File of the LLM's replies to the questions as text.")
@click.option("--distil", is_flag=True, help="Distill the LLM's token distribution over the reply.")
@click.option(
    "--count",
    type=click.IntRange(1, 10_000_000),
    default=6000,
    show_default=True,
    help="Examples per epoch.",
)
@click.option(
    "--listen-weight",
    type=click.FloatRange(0.01, 100.0),
    default=1.0,
    show_default=True,
    help="Weight of keeping to listen in the head's loss: above 1, fewer replies in pauses, and later ones.",
)
@click.option(
    "--held-out", type=click.IntRange(1, 10_000_000), help="Examples for validation.  [default: a tenth of --count]"
)
@click.option(
    "--workers",
    type=click.IntRange(0, 256),
    default=0,
    show_default=True,
    help="Processes that render the examples' audio.",
)
@click.option("--vad", type=click.Choice(list(DETECTORS)), help="Voice activity detector.  [default: the model's]")
@click.option(
    "--backbone", "backbones", multiple=True, help="The frozen LLM; repeatable for the head.  [default: the model's]"
)
@named_args("--backbone-args", "backbone")
@click.option("--evaluate", is_flag=True, help="Only evaluate the model of --init.")
def main(
    run: StageRun,
    init: Path,
    data: Sequence[Path],
    real: Sequence[Path],
    noises: Sequence[Path],
    rooms: Sequence[Path],
    replies: Path | None,
    distil: bool,
    count: int,
    listen_weight: float,
    held_out: int | None,
    workers: int,
    vad: str | None,
    backbones: Sequence[str],
    backbone_args: Mapping[str, str],
    evaluate: bool,
) -> None:
    """Trains input stage 3: state head, and prompt embeddings where the model has any."""
    device = PartialState().device
    model, is_complete = load_model(init, run.config)
    lines = read_lines(replies) if replies else []
    known = {line["question"]: line["reply"] for line in lines if line["reply"].strip()}
    if not evaluate:
        prompts = model.config.prompts or (run.config.prompts if known else 0)
        model = with_new_head(model, run.config, prompts, run.loop.seed)
    frozen, *further = (
        FrozenLLM.of_model(model.config, name, options_for(backbone_args, name), device)
        for name in backbones or (None,)
    )
    if further and (model.config.prompts or "hidden" in model.config.state_inputs):
        raise FobenchError("Prompts and a head on hidden states fit one LLM: give one --backbone, or another --config.")
    model = model.to(device)
    if not str(init).startswith(loading.UNTRAINED):
        PretrainedWeights.read(init).check_backbone(frozen.backbone.name)
    sources = ExampleSources(data, real, noises, rooms, DETECTORS[vad or model.config.settings.duplex.vad])
    counts = {"train": count, "valid": held_out or max(1, count // 10)}
    task = Task(run, model, frozen, further, sources, known, counts, workers, listen_weight)
    if not evaluate:
        if known and model.config.prompts:
            task.train_prompts(distil)
        elif distil:
            raise FobenchError("--distil needs --replies and a model with prompts.")
        else:
            task.train_head()
    if PartialState().is_main_process:
        task.evaluate_head()
        if is_complete and not evaluate:
            loading.save(model, run.out / f"{plain_name(model.config.name)}.safetensors")


if __name__ == "__main__":
    main()
