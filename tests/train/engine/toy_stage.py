"""A stage that takes no time: clips are numbers, the module is a small net. Also a program, for tests that kill or share it."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from reference_model.train.engine.batch_sampler import BatchSampler, DataPosition
from reference_model.train.engine.skipped_samples import SkippedSamples
from reference_model.train.engine.trainer import LoopConfig, Trainer


class Net(nn.Module):
    def __init__(self, poison=()):
        super().__init__()
        torch.manual_seed(7)
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.0), nn.Linear(8, 1))
        self.noise, self.poison = 0.0, poison

    def forward(self, batch):
        x, y = batch
        noise = self.noise * torch.randn(len(x), 1) if self.noise else 0.0
        losses = (self.layers(x) + noise - y) ** 2
        scale = 1e9 if self.training and float(x[0, 0]) in self.poison else 1.0
        return {"loss": losses.sum() * scale, "count": torch.tensor(float(len(x)))}


@dataclass
class Toy:
    module: Net = field(default_factory=Net)
    clips: int = 41  # so that an epoch ends with a batch of one clip
    name: str = "toy"
    sizes: int = 8
    broken: tuple[int, ...] = ()  # clips that cannot be read
    faults: SkippedSamples = field(default_factory=SkippedSamples)

    def batches(self, loop):
        return BatchSampler([1.0] * self.clips, loop.batch_s, loop.batch_most, loop.seed)

    def load(self, indices, epoch):
        for i in set(indices) & {*self.broken}:
            self.faults.add(f"clip-{i}", "cannot be read")
        x = torch.tensor([[i / 40, (i % 7) / 7, epoch % 3 / 3] for i in indices if i not in self.broken])
        return (x, x.sum(1, keepdim=True).sin()) if len(x) else None

    def groups(self, loop):
        return [{"params": list(self.module.parameters()), "lr": loop.lr}]

    def validate(self):
        found = self.module(self.load(range(self.clips), 0))
        return {"loss": float(found["loss"] / found["count"])}

    def config(self):
        return {"sizes": self.sizes}


@dataclass
class InOrder:
    """Batches of `sizes` clips in turn, one clip after the other; an epoch has 40 of them."""

    sizes: tuple[int, ...]

    def batches_after(self, position):
        for number in range(position.batch, 40):
            begin = sum(self.sizes[i % len(self.sizes)] for i in range(number))
            clips = list(range(begin, begin + self.sizes[number % len(self.sizes)]))
            yield DataPosition(0, number + 1) if number < 39 else DataPosition(1, 0), clips


LOOP = LoopConfig(steps=30, lr=0.02, warmup=3, batch_s=8.0, batch_most=8, save_every_s=0.0, validate_every=10)


def main(folder, noise):
    stage = Toy()
    stage.module.noise = float(noise)
    for _ in Trainer(stage, LOOP, Path(folder)).run():
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
