"""Bootstrap resampling of many metrics in one pass, with intervals and one-sided p-values from the resampled values.

Intervals are those of `bootstrap.percentile_interval`, with tails widened for few blocks. A one-sided p-value is the inverse: the level at which such an interval just reaches zero change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from fobench.statistics.bootstrap import (
    CHUNK_CELLS,
    MIN_FINITE,
    Counts,
    Floats,
    Interval,
    Ints,
    draws,
    percentile_interval,
)
from fobench.statistics.distributions import beta_cdf, narrowed_tail

WEIGHT_STEPS = 65_536  # resolution of the weight table if resamples differ in size; else the table is exact

Statistic = Callable[[Counts], Floats]  # counts of draws [r, blocks] -> metric values [r, k]


def resample(statistics: Sequence[Statistic], blocks: int, seed: int, resamples: int) -> list[Floats]:
    """The values [resamples, k] of each statistic over the same draws of `blocks` blocks."""
    values: list[list[Floats]] = [[] for _ in statistics]
    for drawn in draws(blocks, seed, resamples):
        for chunks, statistic in zip(values, statistics, strict=True):
            chunks.append(statistic(drawn))
    return [np.concatenate(chunks) for chunks in values]


def sums(table: Floats) -> Statistic:
    """The statistic that sums the columns of `table` [blocks, k] over the drawn blocks."""
    return lambda drawn: np.asarray(drawn.astype(np.float64) @ table)


def quantiles(values: Floats, blocks: Ints, shares: Sequence[float]) -> Statistic:
    """The statistic of the quantiles `shares` of `values` [m] in `blocks` [m] over the drawn blocks; NaN if none is drawn.

    Estimator of Harrell and Davis (1982): the mean of all order statistics, weighted by the beta distribution of the target
    rank. Single order statistics are discrete: the bootstrap overestimates their variance, which halves a gate's power.
    """
    order = np.argsort(values, kind="stable")
    ranked, codes = values[order], blocks[order]
    steps = np.append(ranked[:-1] - ranked[1:], ranked[-1])  # [m]: sum(weight x value) = sum(cumulative weight x step)
    rows = max(1, CHUNK_CELLS // len(values))

    def statistic(drawn: Counts) -> Floats:
        parts = (drawn[first : first + rows, codes] for first in range(0, len(drawn), rows))
        return np.concatenate([_weighted_quantiles(counts, steps, shares) for counts in parts])

    return statistic


def quantile(values: Floats, share: float) -> float:
    """The Harrell-Davis estimate of one quantile of `values` [m]."""
    all_once = np.ones((1, len(values)), dtype=np.uint8)
    return float(quantiles(values, np.arange(len(values)), [share])(all_once)[0, 0])


def _weighted_quantiles(counts: Counts, steps: Floats, shares: Sequence[float]) -> Floats:
    """The weighted quantiles [r, shares] for `counts` [r, m] of each value."""
    n = len(steps)
    cumulative = np.cumsum(counts, axis=1, dtype=np.intp)  # [r, m]: cumulative counts, of the fastest index type
    totals = cumulative[:, -1].copy()
    cells = int(totals[0])
    if (totals != cells).any():  # resamples differ in size: rows are rescaled
        cells = max(WEIGHT_STEPS, n)
        cumulative = np.rint(cumulative * (cells / np.maximum(totals, 1))[:, None]).astype(np.intp)
    estimates = np.stack([_cumulative_weights(n, share, cells)[cumulative] @ steps for share in shares], axis=1)
    estimates[totals == 0] = np.nan
    return estimates


@lru_cache(maxsize=8)
def _cumulative_weights(n: int, share: float, cells: int) -> Floats:
    """The cumulative Harrell-Davis weight [cells + 1] at equal steps through `n` ordered values."""
    below = np.arange(cells + 1) / max(cells, 1)
    return np.asarray(beta_cdf((n + 1) * share, (n + 1) * (1 - share), below))


def interval(effects: Floats, blocks: int, confidence: float = 0.95) -> Interval | None:
    """The widened percentile interval of resampled effects [resamples]; None if under 95 % are finite, or if all agree."""
    return percentile_interval(effects[np.isfinite(effects)], confidence, len(effects), blocks)


def p_above(effects: Floats, blocks: int) -> float:
    """One-sided p of "the effect is above 0" from resampled effects [resamples]; 1 if under 95 % are finite."""
    defined = effects[np.isfinite(effects)]
    if blocks < 2 or len(defined) < MIN_FINITE * len(effects):
        return 1.0
    share = (1 + int(np.count_nonzero(defined <= 0))) / (1 + len(defined))
    return narrow_tail(share, blocks)


def narrow_tail(tail: float, blocks: int) -> float:
    """The inverse of `bootstrap.widen_tail`."""
    return narrowed_tail(tail, blocks - 1, math.sqrt((blocks - 1) / blocks))
