"""Intervals and tests: pure functions of numbers, seeded and vectorised.

Bootstrap intervals are percentile intervals over 10,000 resamples. What is resampled are *blocks*: all items of a group
(a speaker, a dialogue) together, because they are not independent; with fewer than 10 groups, single items.
Resamples are made as tables of how often each block is drawn, in chunks, so that memory stays under 200 MB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from fobench.errors import FobenchError

RESAMPLES = 10_000
SEED = 0
MIN_BLOCKS = 10  # an interval from fewer groups than this is too narrow: their spread is not known
MIN_FINITE = 0.95  # share of resamples in which a ratio must be defined for its interval to be given
P90_MIN_N = 10  # below, the 90th percentile is hidden ...
P99_MIN_N = 100  # ... and the 99th
CHUNK_CELLS = 2_000_000  # draws made at once: 16 MB as int64
KEPT_CELLS = 25_000_000  # a table of draws up to this size is kept for the next metric: 25 MB as uint8

Interval = tuple[float, float]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.uint8]  # a block is never drawn over 255 times: certain up to 255 blocks, beyond chance above


# ---- Bootstrap -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Blocks:
    """What is resampled: `codes` [n] gives each item's block, `count` the blocks, `unit` what a block is."""

    codes: Ints
    count: int
    unit: Literal["group", "item"]


def blocks(groups: Sequence[str] | None, n: int) -> Blocks:
    """Blocks of `n` items: their groups, or single items for no groups or fewer than `MIN_BLOCKS`."""
    if groups is not None:
        if len(groups) != n:
            raise FobenchError(f"{len(groups)} groups do not fit {n} items.")
        names, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        if len(names) >= MIN_BLOCKS:
            return Blocks(codes.astype(np.int64), len(names), "group")
    return Blocks(np.arange(n), n, "item")


def bootstrap_mean(
    values: Sequence[float] | Floats,
    groups: Sequence[str] | None = None,
    *,
    confidence: float = 0.95,
    seed: int = SEED,
    resamples: int = RESAMPLES,
) -> Interval | None:
    """Interval of the mean of `values`. None for fewer than two blocks: one item tells nothing of the spread."""
    ones = np.ones(len(values))
    return bootstrap_ratio(values, ones, groups, confidence=confidence, seed=seed, resamples=resamples)


def bootstrap_ratio(
    numerators: Sequence[float] | Floats,
    denominators: Sequence[float] | Floats,
    groups: Sequence[str] | None = None,
    *,
    confidence: float = 0.95,
    seed: int = SEED,
    resamples: int = RESAMPLES,
) -> Interval | None:
    """Interval of the pooled ratio sum(numerators) / sum(denominators), e.g. of a word error rate.

    Resamples whose denominator is 0 have no ratio and are left out; None where those are over 5 %.
    """
    parts = blocks(groups, len(numerators))
    if parts.count < 2:
        return None
    summed = [np.bincount(parts.codes, np.asarray(x, dtype=float), parts.count) for x in (numerators, denominators)]
    table = np.stack(summed, axis=1)  # [blocks, 2]
    sums = np.concatenate([drawn.astype(float) @ table for drawn in draws(parts.count, seed, resamples)])
    defined = sums[sums[:, 1] != 0]
    return percentile_interval(defined[:, 0] / defined[:, 1], confidence, resamples)


def paired_difference(
    first: Sequence[float] | Floats,
    second: Sequence[float] | Floats,
    groups: Sequence[str] | None = None,
    *,
    confidence: float = 0.95,
    seed: int = SEED,
    resamples: int = RESAMPLES,
) -> Interval | None:
    """Interval of mean(first) - mean(second), item i of both always drawn together."""
    apart = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    return bootstrap_mean(apart, groups, confidence=confidence, seed=seed, resamples=resamples)


def paired_ratio(
    first: Sequence[float] | Floats,
    second: Sequence[float] | Floats,
    groups: Sequence[str] | None = None,
    *,
    confidence: float = 0.95,
    seed: int = SEED,
    resamples: int = RESAMPLES,
) -> Interval | None:
    """Interval of mean(first) / mean(second), item i of both always drawn together."""
    if len(first) != len(second):
        raise FobenchError(f"{len(first)} and {len(second)} items are not pairs.")
    return bootstrap_ratio(first, second, groups, confidence=confidence, seed=seed, resamples=resamples)


def percentile_interval(estimates: Floats, confidence: float, resamples: int) -> Interval | None:
    """The middle `confidence` of the resampled estimates; None where too few of the `resamples` gave one."""
    if len(estimates) < MIN_FINITE * resamples:
        return None
    tail = 50 * (1 - confidence)
    low, high = np.percentile(estimates, [tail, 100 - tail])
    return float(low), float(high)


def draws(count: int, seed: int, resamples: int) -> Iterator[Counts]:
    """Chunks [r, count] of a seeded bootstrap of `count` blocks: how often each is drawn in each resample."""
    if count * resamples > KEPT_CELLS:
        yield from _fresh_draws(count, seed, resamples)
        return
    table, rows = _kept_draws(count, seed, resamples), max(1, CHUNK_CELLS // count)
    for start in range(0, resamples, rows):
        yield table[start : start + rows]


def _fresh_draws(count: int, seed: int, resamples: int) -> Iterator[Counts]:
    rng = np.random.default_rng(seed)
    rows = max(1, CHUNK_CELLS // count)
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        cells = rng.integers(0, count, (size, count)) + np.arange(size)[:, None] * count
        yield np.bincount(cells.ravel(), minlength=size * count).astype(np.uint8).reshape(size, count)


@lru_cache(maxsize=3)
def _kept_draws(count: int, seed: int, resamples: int) -> Counts:
    return np.concatenate(list(_fresh_draws(count, seed, resamples)))
