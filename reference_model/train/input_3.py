"""Trains input stage 3 of `small`, the state head: after every chunk, whether to listen on, answer or ignore.

    python -m reference_model.train.input_3 --data runs/data/input --model runs/train/small.safetensors --out runs/train/input-3

Encoder, adapter and LLM are frozen, so each situation goes through them once, exactly as it would live; what the head is to
judge by is kept in a file, and the head learns from it in a minute.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from fobench import plugins
from reference_model import checkpoints
from reference_model.live import Live
from reference_model.state import Hearing
from reference_model.state_head import State, StateHead
from reference_model.train import situations
from reference_model.train.augment import Sounds
from reference_model.train.batches import Batches
from reference_model.train.corpus import Corpus
from reference_model.train.engine import Loop, Trainer, to_device
from reference_model.train.situations import Situation

UNLABELLED = -100
MARGIN_S = 0.1  # after the last word, in which both answers are right
WEIGHTS = (1.0, 2.0, 2.0, 0.0)  # of the classes


@dataclass(frozen=True, slots=True)
class Judged:
    """Situations as the head sees them: vectors [B, N, D + E], labels [B, N], `UNLABELLED` beyond their ends."""

    vectors: Tensor
    labels: Tensor


class StateLearner(nn.Module):
    def __init__(self, head: StateHead) -> None:
        super().__init__()
        self.state_head = head

    def forward(self, batch: Judged) -> dict[str, Tensor]:
        logits = self.state_head(to_device(batch.vectors, self).float())
        labels = to_device(batch.labels, self)
        weights = torch.tensor(WEIGHTS, device=logits.device)
        loss = functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), weights, ignore_index=UNLABELLED, reduction="sum"
        )
        right = ((logits[..., :3].argmax(-1) == labels) & (labels >= 0)).sum().float()
        return {"loss": loss, "right": right, "count": (labels >= 0).sum().float()}


@torch.no_grad()
def heard(live: Live, found: Situation) -> tuple[Tensor, Tensor]:
    """What the head would judge a situation by, chunk by chunk [N, D + E], and the labels [N]."""
    encoder = live.model.encoder
    features = encoder.front.offline(torch.from_numpy(found.samples)[None])
    context, hearing = live.opening(), Hearing.begin(live.model, [], None)
    vectors, labels = [], []
    chunk_s = encoder.chunk * encoder.front.hop / encoder.front.rate_hz
    for number in range(features.shape[1] // encoder.chunk):
        hearing.waiting.append(features[:, number * encoder.chunk : (number + 1) * encoder.chunk])
        hearing.listen(live)
        vectors.append(hearing.enter(context, live))
        labels.append(label(found, (number + 1) * chunk_s))
    return torch.stack(vectors).half(), torch.tensor(labels)


def label(found: Situation, time_s: float) -> int:
    """The state at a time."""
    if found.state is State.KEEP_LISTENING or time_s <= found.end_s:
        return int(State.KEEP_LISTENING)
    return int(found.state) if time_s >= found.end_s + MARGIN_S else UNLABELLED


@dataclass(slots=True)
class StateStage:
    module: StateLearner
    train: list[tuple[Tensor, Tensor]]
    valid: list[tuple[Tensor, Tensor]]
    chunk_s: float
    about: dict[str, Any] = field(default_factory=dict)
    name: str = "input-3"

    def batches(self, loop: Loop) -> Batches:
        return Batches(
            [len(labels) * self.chunk_s for _, labels in self.train], loop.batch_s, loop.batch_most, loop.seed
        )

    def load(self, indices: Sequence[int], epoch: int) -> Judged:
        vectors, labels = zip(*(self.train[i] for i in indices), strict=True)
        pad = nn.utils.rnn.pad_sequence
        return Judged(pad(vectors, batch_first=True), pad(labels, batch_first=True, padding_value=UNLABELLED))

    def groups(self, loop: Loop) -> list[dict[str, Any]]:
        return [{"params": list(self.module.parameters()), "lr": loop.lr}]

    def config(self) -> dict[str, Any]:
        return self.about

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Macro F1 of the decisions (one a situation), and the median delay of those that are right, in ms."""
        wanted, made, delays = [], [], []
        for vectors, labels in self.valid:
            p = self.module.state_head.probabilities(vectors.float())
            number, state = decision(p)
            wanted.append(int(labels.max()))
            ends = (labels > 0).nonzero()
            early = len(ends) and number < int(ends[0]) - 1
            made.append(-1 if early else int(state))
            if state and not early and int(state) == wanted[-1]:
                delays.append((number - int(ends[0]) + 1) * self.chunk_s * 1000)
        return {"f1": macro_f1(wanted, made), "delay_ms": float(np.median(delays)) if delays else float("nan")}


def decision(p: Tensor) -> tuple[int, State]:
    """The first chunk at which probabilities [N, 3] call for anything but listening, and what for."""
    for number, row in enumerate(p):
        if state := StateHead.decide(row):
            return number, state
    return len(p), State.KEEP_LISTENING


def macro_f1(wanted: Sequence[int], made: Sequence[int]) -> float:
    """The mean over the states 0, 1, 2 of F1; a decision of -1 is wrong for each."""
    scores = []
    for state in (0, 1, 2):
        right = sum(w == m == state for w, m in zip(wanted, made, strict=True))
        scores.append(2 * right / max(1, wanted.count(state) + list(made).count(state)))
    return float(np.mean(scores))


def prepared(
    live: Live, corpus: Corpus, sounds: Sounds, count: int, seed: int, cache: Path
) -> list[tuple[Tensor, Tensor]]:
    """`count` situations as the head sees them, kept in a file."""
    found = load_file(cache) if cache.is_file() else {}
    by_kind = situations.indices_by_kind(corpus)
    for number in range(count):
        if f"{number}.labels" in found:
            continue
        made = situations.situation(corpus, by_kind, sounds, np.random.default_rng([seed, number]))
        found[f"{number}.vectors"], found[f"{number}.labels"] = heard(live, made)
        if number % 200 == 199:
            print(f"{number + 1} of {count} situations", flush=True)
            save_file(found, cache)
    save_file(found, cache)
    return [(found[f"{n}.vectors"], found[f"{n}.labels"]) for n in range(count)]


@click.command()
@click.option("--data", multiple=True, type=Path, required=True)
@click.option("--model", type=Path, required=True, help="A checkpoint whose encoder and adapter are trained.")
@click.option("--noises", multiple=True, type=Path)
@click.option("--rooms", multiple=True, type=Path)
@click.option("--out", type=Path, required=True)
@click.option("--count", default=6000, show_default=True)
@click.option("--set", "pairs", multiple=True, help="NAME=VALUE of the loop.")
def main(
    data: Sequence[Path],
    model: Path,
    noises: Sequence[Path],
    rooms: Sequence[Path],
    out: Path,
    count: int,
    pairs: Sequence[str],
) -> None:
    options = {k: json.loads(v) for k, v in (p.split("=") for p in pairs)}
    loop = Loop(**{"lr": 1e-3, "steps": 2000, "warmup": 50, "batch_s": 200.0, "validate_every": 500, **options})
    out.mkdir(parents=True, exist_ok=True)
    made = checkpoints.load(model, device="cpu")
    live = Live(made, plugins.create("backbones", made.config.backbone, {"device": "cpu"}), made.config.settings, None)
    sounds = Sounds.read(noises, rooms, 16_000)
    sets = {}
    for split, share, seed in (("train", count, 1), ("valid", count // 10, 2)):
        corpus = Corpus.open(data, 16_000, split)
        sets[split] = prepared(live, corpus, sounds, share, seed, out / f"{split}.safetensors")
    torch.manual_seed(loop.seed)
    config = made.config
    head = StateHead(config.llm_size, config.adapter.evidence, config.state_middle)
    chunk_s = made.encoder.chunk * made.encoder.front.hop / made.encoder.front.rate_hz
    stage = StateStage(StateLearner(head), sets["train"], sets["valid"], chunk_s, {"state_middle": config.state_middle})
    for row in Trainer(stage, loop, out).run():
        if row["step"] % 100 == 0:
            print({k: round(float(v), 4) for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    main()
