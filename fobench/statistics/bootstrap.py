"""Block bootstrap of means and ratios: pure functions of numbers, seeded and vectorized.

Intervals are percentile intervals over 10,000 resamples of *blocks*: all items of a group (a speaker, a dialogue) are
resampled together, because they are not independent; with fewer than 10 groups, single items are resampled.
Resamples are tables of how often each block is drawn, computed in chunks, so that memory stays below 200 MB.
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
MIN_BLOCKS = 10  # with fewer groups the interval is too narrow: the variance between groups is unknown
MIN_FINITE = 0.95  # minimum share of resamples with a defined ratio
P90_MIN_N = 10  # minimum n for the 90th percentile ...
P99_MIN_N = 100  # ... and for the 99th
CHUNK_CELLS = 2_000_000  # draws computed at once: 16 MB as int64
CACHE_CELLS = 25_000_000  # largest cached table of draws: 25 MB as uint8

Interval = tuple[float, float]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[
    np.uint8
]  # draws of a block, at most 255: exact for up to 255 blocks; beyond, more are astronomically unlikely


# ---- Bootstrap -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Blocks:
    """The units of resampling. `codes` [n]: the block index of each item; `count`: number of blocks; `unit`: kind of block."""

    codes: Ints
    count: int
    unit: Literal["group", "item"]


def blocks(groups: Sequence[str] | None, n: int) -> Blocks:
    """The blocks of `n` items: their groups, or single items if there are no groups or fewer than `MIN_BLOCKS`.

    Raises FobenchError if `groups` does not have `n` entries.
    """
    if groups is not None:
        if len(groups) != n:
            raise FobenchError(f"{len(groups)} groups do not fit {n} items.")
        names, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        if len(names) >= MIN_BLOCKS:
            return Blocks(codes.astype(np.int64), len(names), "group")
    return Blocks(np.arange(n), n, "item")


def bootstrap_interval(
    values: Sequence[float] | Floats,
    denominators: Sequence[float] | Floats | None = None,
    *,
    groups: Sequence[str] | None = None,
    confidence: float = 0.95,
    seed: int = SEED,
    resamples: int = RESAMPLES,
) -> Interval | None:
    """Interval of the mean of `values` [n]; with `denominators` [n], of the pooled ratio sum(values) / sum(denominators).

    Item i of both arrays is always drawn together, which covers word error rates, ratios of paired means and (with
    differences as values) paired differences. Returns None for fewer than two blocks, whose variance is unknown.
    Resamples with a denominator of 0 are left out; None if those exceed 5 %. Raises FobenchError if the arrays or the
    groups differ in length.
    """
    if denominators is None:
        denominators = np.ones(len(values))
    if len(values) != len(denominators):
        raise FobenchError(f"{len(values)} values and {len(denominators)} denominators are not pairs.")
    parts = blocks(groups, len(values))
    if parts.count < 2:
        return None
    summed = [np.bincount(parts.codes, np.asarray(x, dtype=float), parts.count) for x in (values, denominators)]
    table = np.stack(summed, axis=1)  # [blocks, 2]
    sums = np.concatenate([drawn.astype(float) @ table for drawn in draws(parts.count, seed, resamples)])
    defined = sums[sums[:, 1] != 0]
    return percentile_interval(defined[:, 0] / defined[:, 1], confidence, resamples)


def percentile_interval(estimates: Floats, confidence: float, resamples: int) -> Interval | None:
    """The percentile interval at `confidence` of resampled estimates; None if under 95 % of the `resamples` have one."""
    if len(estimates) < MIN_FINITE * resamples:
        return None
    tail = 50 * (1 - confidence)
    low, high = np.percentile(estimates, [tail, 100 - tail])
    return float(low), float(high)


def draws(count: int, seed: int, resamples: int) -> Iterator[Counts]:
    """Chunks [r, count] of a seeded bootstrap of `count` blocks: how often each block is drawn in each resample."""
    if count * resamples > CACHE_CELLS:
        yield from _generate_draws(count, seed, resamples)
        return
    table, rows = _cached_draws(count, seed, resamples), max(1, CHUNK_CELLS // count)
    for start in range(0, resamples, rows):
        yield table[start : start + rows]


def _generate_draws(count: int, seed: int, resamples: int) -> Iterator[Counts]:
    rng = np.random.default_rng(seed)
    rows = max(1, CHUNK_CELLS // count)
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        cells = rng.integers(0, count, (size, count)) + np.arange(size)[:, None] * count
        yield np.bincount(cells.ravel(), minlength=size * count).astype(np.uint8).reshape(size, count)


@lru_cache(maxsize=3)
def _cached_draws(count: int, seed: int, resamples: int) -> Counts:
    return np.concatenate(list(_generate_draws(count, seed, resamples)))
