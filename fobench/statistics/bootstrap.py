"""Intervals of means and ratios by the block bootstrap and the jackknife: pure functions of numbers, seeded and vectorized.

Intervals are percentile intervals over 10,000 resamples of *blocks*: all items of a group (a speaker, a dialogue) are
resampled together, because they are not independent; with fewer than 10 groups, single items are resampled, and
`cluster_interval` is the interval that still respects the groups. The tails are widened for few blocks (Hesterberg 2015, "What
teachers should know about the bootstrap", 5.3: plain ones are too narrow, by the ratio of Student's t to the normal quantile and
of n to n - 1); with fewer than 10 blocks the interval is that of the jackknife. An interval without width is none: equal values
say nothing about their variance. Resamples are tables of how often each block is drawn, computed in chunks, so that memory stays
below 200 MB.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from fobench.errors import FobenchError
from fobench.statistics.distributions import normal_cdf, student_quantile

RESAMPLES = 10_000
SEED = 0
MIN_BLOCKS = 10  # with fewer groups the interval is too narrow: the variance between groups is unknown
MIN_JACKKNIFE = 3  # with two blocks, Student's t has one degree of freedom and the interval spans anything
WIDTH = 1e-9  # relative width below which an interval is rounding
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
    """The units of resampling. `codes` [n]: the block index of each item; `count`: number of blocks; `unit`: kind of block.

    `groups`: the number of groups, where items are resampled although groups are known; else 0.
    """

    codes: Ints
    count: int
    unit: Literal["group", "item"]
    groups: int = 0


def blocks(groups: Sequence[str] | None, n: int) -> Blocks:
    """The blocks of `n` items: their groups, or single items if there are no groups or fewer than `MIN_BLOCKS`.

    Raises FobenchError if `groups` does not have `n` entries.
    """
    if groups is None:
        return Blocks(np.arange(n), n, "item")
    codes, count = group_codes(groups, n)
    if count >= MIN_BLOCKS:
        return Blocks(codes, count, "group")
    return Blocks(np.arange(n), n, "item", groups=count if count < n else 0)


def group_codes(groups: Sequence[str], n: int) -> tuple[Ints, int]:
    """The group index [n] of each item, and the number of groups. Raises FobenchError if `groups` does not have `n` entries."""
    if len(groups) != n:
        raise FobenchError(f"{len(groups)} groups do not fit {n} items.")
    names, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return codes.astype(np.int64), len(names)


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
    differences as values) paired differences. Returns None for fewer than three blocks, whose variance is unknown, and where all
    blocks agree. Resamples with a denominator of 0 are left out; None if those exceed 5 %. Raises FobenchError if the arrays or
    the groups differ in length.
    """
    top, bottom = _pair(values, denominators)
    parts = blocks(groups, len(top))
    if parts.count < MIN_BLOCKS:
        return _jackknife(top, bottom, parts.codes, parts.count, confidence)
    table = _sums(top, bottom, parts.codes, parts.count)
    sums = np.concatenate([drawn.astype(float) @ table for drawn in draws(parts.count, seed, resamples)])
    defined = sums[sums[:, 1] != 0]
    found = percentile_interval(defined[:, 0] / defined[:, 1], confidence, resamples, parts.count)
    return with_estimate(found, top.sum() / bottom.sum()) if bottom.sum() else None


def cluster_interval(
    values: Sequence[float] | Floats,
    denominators: Sequence[float] | Floats | None,
    groups: Sequence[str],
    confidence: float = 0.95,
) -> Interval | None:
    """The cluster-robust interval of the same mean or pooled ratio as `bootstrap_interval`, for any number of groups.

    Deletes one group at a time (jackknife, CV3) and takes Student's t with G - 1 degrees of freedom, which keeps its level with
    few groups (MacKinnon, Nielsen and Webb 2023, "Cluster-robust inference: a guide to empirical practice", sections 4 and 8).
    None for fewer than three groups, or where all groups agree.
    """
    top, bottom = _pair(values, denominators)
    return _jackknife(top, bottom, *group_codes(groups, len(top)), confidence)


def _pair(values: Sequence[float] | Floats, denominators: Sequence[float] | Floats | None) -> tuple[Floats, Floats]:
    """Values and denominators [n] as arrays; denominators of 1 if there are none."""
    top = np.asarray(values, dtype=float)
    bottom = np.ones(len(top)) if denominators is None else np.asarray(denominators, dtype=float)
    if len(top) != len(bottom):
        raise FobenchError(f"{len(top)} values and {len(bottom)} denominators are not pairs.")
    return top, bottom


def _sums(top: Floats, bottom: Floats, codes: Ints, count: int) -> Floats:
    """Both arrays summed by block, [blocks, 2]."""
    return np.stack([np.bincount(codes, x, count) for x in (top, bottom)], axis=1)


def _jackknife(top: Floats, bottom: Floats, codes: Ints, count: int, confidence: float) -> Interval | None:
    """Student's interval of sum(top) / sum(bottom) from the ratios without one block; not below 0 if no value is negative."""
    if count < MIN_JACKKNIFE:
        return None
    without = np.stack([top.sum(), bottom.sum()]) - _sums(top, bottom, codes, count)  # [blocks, 2]
    if not bottom.sum() or not without[:, 1].all():
        return None
    estimate = float(top.sum() / bottom.sum())
    error = math.sqrt((count - 1) / count * float(np.sum((without[:, 0] / without[:, 1] - estimate) ** 2)))
    half_width = student_quantile(count - 1, (1 + confidence) / 2) * error
    low = max(0.0, estimate - half_width) if estimate >= 0 and (top >= 0).all() else estimate - half_width
    return with_width((low, estimate + half_width))


def percentile_interval(estimates: Floats, confidence: float, resamples: int, blocks: int) -> Interval | None:
    """The percentile interval at `confidence` of estimates resampled from `blocks` blocks, with widened tails.

    None if under 95 % of the `resamples` have an estimate, or if all estimates agree.
    """
    if blocks < 2 or len(estimates) < MIN_FINITE * resamples:
        return None
    tail = 100 * widen_tail((1 - confidence) / 2, blocks)
    low, high = np.percentile(estimates, [tail, 100 - tail])
    return with_width((float(low), float(high)))


def with_width(interval: Interval) -> Interval | None:
    """The interval, or None if its ends agree to rounding."""
    low, high = interval
    return interval if high - low > WIDTH * max(abs(low), abs(high)) else None


def with_estimate(interval: Interval | None, estimate: float) -> Interval | None:
    """The interval, extended to its estimate where a skewed resampling left it out."""
    return None if interval is None else (min(interval[0], float(estimate)), max(interval[1], float(estimate)))


def widen_tail(tail: float, blocks: int) -> float:
    """The tail probability of the normal distribution at the quantile of Student's t with `blocks` - 1 degrees of freedom."""
    return normal_cdf(student_quantile(blocks - 1, tail) * math.sqrt(blocks / (blocks - 1)))


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
