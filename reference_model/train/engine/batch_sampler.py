"""Which clips go into which batch: of like length, in an order that the seed and the epoch fix."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

POOL = 64  # batches that clips are sorted by length within


@dataclass(frozen=True, slots=True)
class DataPosition:
    """Where in the data a training is: the batch that comes next."""

    epoch: int = 0
    batch: int = 0


@dataclass(frozen=True, slots=True)
class BatchSampler:
    """Batches of at most `seconds` of audio, padding included, and `most` clips."""

    lengths: Sequence[float]  # seconds of every clip
    seconds: float
    most: int = 64
    seed: int = 0

    def epoch(self, number: int) -> list[list[int]]:
        """All clips once: clips of like length together, the batches in random order."""
        rng = random.Random(f"batches {self.seed} {number}")
        order = list(range(len(self.lengths)))
        rng.shuffle(order)
        pool = POOL * min(self.most, max(1, round(self.seconds / (sum(self.lengths) / len(self.lengths)))))
        made: list[list[int]] = []
        for begin in range(0, len(order), pool):
            made += self._cut(sorted(order[begin : begin + pool], key=lambda i: (self.lengths[i], i)))
        rng.shuffle(made)
        return made

    def after(self, place: DataPosition) -> Iterator[tuple[DataPosition, list[int]]]:
        """Without end: each batch with the place behind it."""
        epoch, skip = place.epoch, place.batch
        while True:
            batches = self.epoch(epoch)
            for number in range(skip, len(batches)):
                last = number + 1 == len(batches)
                yield DataPosition(epoch + 1, 0) if last else DataPosition(epoch, number + 1), batches[number]
            epoch, skip = epoch + 1, 0

    def _cut(self, order: Sequence[int]) -> list[list[int]]:
        """Clips sorted by length, cut into batches; the longest of a batch is its last."""
        made: list[list[int]] = [[]]
        for index in order:
            full = len(made[-1]) >= self.most or (len(made[-1]) + 1) * self.lengths[index] > self.seconds
            if made[-1] and full:
                made.append([])
            made[-1].append(index)
        return made
