"""Assignment of clips to batches: clips of similar length together, in an order given by the seed and the epoch."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

POOL = 64  # batches per pool; clips are sorted by length within a pool


@dataclass(frozen=True, slots=True)
class DataPosition:
    """Position of a training run in its data: the next batch."""

    epoch: int = 0
    batch: int = 0


@dataclass(frozen=True, slots=True)
class BatchSampler:
    """Batches of at most `seconds` of audio, padding included, and at most `max_clips` clips."""

    lengths: Sequence[float]  # duration of every clip in seconds
    seconds: float
    max_clips: int = 64
    seed: int = 0

    def epoch(self, number: int) -> list[list[int]]:
        """Returns the batches of epoch `number`, as clip indices: every clip once, similar lengths together, batches in
        random order.
        """
        rng = random.Random(f"batches {self.seed} {number}")
        order = list(range(len(self.lengths)))
        rng.shuffle(order)
        pool = POOL * min(self.max_clips, max(1, round(self.seconds / (sum(self.lengths) / len(self.lengths)))))
        batches: list[list[int]] = []
        for begin in range(0, len(order), pool):
            batches += self._split(sorted(order[begin : begin + pool], key=lambda i: (self.lengths[i], i)))
        rng.shuffle(batches)
        return batches

    def batches_after(self, position: DataPosition) -> Iterator[tuple[DataPosition, list[int]]]:
        """Yields (position after the batch, clip indices of the batch) without end."""
        epoch, skip = position.epoch, position.batch
        while True:
            batches = self.epoch(epoch)
            for number in range(skip, len(batches)):
                last = number + 1 == len(batches)
                yield DataPosition(epoch + 1, 0) if last else DataPosition(epoch, number + 1), batches[number]
            epoch, skip = epoch + 1, 0

    def _split(self, order: Sequence[int]) -> list[list[int]]:
        """Splits clips sorted by length into batches; the last clip of a batch is its longest."""
        batches: list[list[int]] = [[]]
        for index in order:
            full = len(batches[-1]) >= self.max_clips or (len(batches[-1]) + 1) * self.lengths[index] > self.seconds
            if batches[-1] and full:
                batches.append([])
            batches[-1].append(index)
        return batches
