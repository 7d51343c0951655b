"""Trains output stage 1 of `small`, the codec: mel frames -> codes -> the latents that a published generator makes speech of.

    python -m reference_model.train.output_1 --data runs/data/latents --out runs/train/output-1

The generator is Piper's and stays as it is; encoder, quantiser and decoder learn to give it the latents that it knows. No
gradient passes through the generator, which is why this takes minutes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from reference_model.codec import CodecConfig, ReferenceCodec
from reference_model.train.batches import Batches
from reference_model.train.engine import Loop, Trainer, to_device

FRAMES = 64  # codec frames of a crop
CROPS = 32  # in a batch
VALID = 60  # pairs kept aside
COMMITMENT = 0.25


@dataclass(frozen=True, slots=True)
class Pair:
    """Speech [T] and its latents [C, T / 256]."""

    audio: Tensor
    latents: Tensor


def read(folder: Path) -> list[Pair]:
    """Every pair in the folder, of at least a crop's length."""
    found: list[Pair] = []
    for path in sorted(folder.glob("pairs-*.safetensors")):
        tensors = load_file(path)
        names = sorted({int(key.partition(".")[0]) for key in tensors})
        found += [Pair(tensors[f"{n}.audio"], tensors[f"{n}.latents"]) for n in names]
    return found


class CodecLearner(nn.Module):
    """The codec without its generator, which is kept apart: it is not trained."""

    steps: Tensor

    def __init__(self, codec: ReferenceCodec) -> None:
        super().__init__()
        self.encoder, self.quantizer, self.decoder = codec.encoder, codec.quantizer, codec.decoder
        self._mels = codec.mels
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Pair) -> dict[str, Tensor]:
        """Crops: audio [B, T], latents [B, C, F]."""
        audio, wanted = to_device(batch.audio, self), to_device(batch.latents, self)
        with torch.autocast(audio.device.type, enabled=False):
            hidden = self.encoder(self._mels(audio))
            chance = torch.Generator().manual_seed(int(self.steps))
            if self.training and not self.steps:
                self.quantizer.start(hidden, chance)
            quantised = self.quantizer(hidden)
            if self.training:
                self.quantizer.follow(quantised, chance)
                self.steps += 1
            distance = functional.mse_loss(self.decoder(quantised.values), wanted) / wanted.var()
        loss = distance + COMMITMENT * quantised.commitment
        count = torch.tensor(float(len(audio)), device=audio.device)
        return {
            "loss": loss * count,
            "distance": distance * count,
            "commitment": quantised.commitment * count,
            "count": count,
        }


@dataclass(slots=True)
class CodecStage:
    module: CodecLearner
    pairs: list[Pair]
    valid: list[Pair]
    seed: int = 0
    name: str = "output-1"
    about: dict[str, Any] = field(default_factory=dict)

    def batches(self, loop: Loop) -> Batches:
        return Batches([1.0] * len(self.pairs), CROPS, CROPS, loop.seed)

    def load(self, indices: Sequence[int], epoch: int) -> Pair:
        rng = np.random.default_rng([self.seed, epoch, indices[0]])
        crops = [crop(self.pairs[i], rng) for i in indices]
        return Pair(torch.stack([c.audio for c in crops]), torch.stack([c.latents for c in crops]))

    def groups(self, loop: Loop) -> list[dict[str, Any]]:
        return [{"params": list(self.module.parameters()), "lr": loop.lr}]

    def config(self) -> dict[str, Any]:
        return self.about

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        rng = np.random.default_rng(0)
        crops = [crop(pair, rng) for pair in self.valid]
        batch = Pair(torch.stack([c.audio for c in crops]), torch.stack([c.latents for c in crops]))
        found = self.module(batch)
        used = self.module.quantizer.counts
        rows = used / used.sum(1, keepdim=True)
        perplexity = torch.exp(-(rows * (rows + 1e-12).log()).sum(1))
        return {
            "distance": float(found["distance"] / found["count"]),
            **{f"rows_{k}": float(p) for k, p in enumerate(perplexity)},
        }


def crop(pair: Pair, rng: np.random.Generator) -> Pair:
    """FRAMES codec frames of a pair, silence behind a short one."""
    frames = 2 * FRAMES
    begin = 2 * int(rng.integers(max(1, (pair.latents.shape[1] - frames) // 2 + 1)))
    latents = pair.latents[:, begin : begin + frames].float()
    audio = pair.audio[begin * 256 : (begin + frames) * 256].float() / 32767
    short = frames - latents.shape[1]
    if short > 0:  # the last frame again and again: near silence
        latents = torch.cat([latents, latents[:, -1:].expand(-1, short)], 1)
    return Pair(functional.pad(audio, (0, frames * 256 - len(audio))), latents)


@click.command()
@click.option("--data", type=Path, required=True)
@click.option("--out", type=Path, required=True)
@click.option("--set", "pairs", multiple=True, help="NAME=VALUE of the loop.")
def main(data: Path, out: Path, pairs: Sequence[str]) -> None:
    options = {k: json.loads(v) for k, v in (p.split("=") for p in pairs)}
    loop = Loop(**{"lr": 1e-3, "steps": 6000, "warmup": 100, "validate_every": 500, **options})
    torch.manual_seed(loop.seed)
    found = read(data)
    config = CodecConfig()
    codec = ReferenceCodec(config)
    stage = CodecStage(CodecLearner(codec), found[VALID:], found[:VALID], about={"codec": dataclasses.asdict(config)})
    for row in Trainer(stage, loop, out).run():
        if row["step"] % 50 == 0:
            print({k: round(float(v), 4) for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    main()
