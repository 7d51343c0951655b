"""One pass over a bootstrap's draws for many figures at once, and what the resampled figures say.

Intervals are percentile intervals whose tails are widened for few blocks (Hesterberg 2015, "What teachers should know about
the bootstrap", 5.3: the plain ones are too narrow by what separates Student's t from the normal distribution and n - 1 from n).
A one-sided p is the inverse: the level at which such an interval just reaches no change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from fobench.statistics.bootstrap import CHUNK_CELLS, MIN_FINITE, Counts, Floats, Interval, Ints, draws

FINEST = 65_536  # steps of a table of weights where resamples do not hold equally many values; else it is exact

Statistic = Callable[[Counts], Floats]  # counts of draws [r, blocks] -> figures [r, k]


def resample(statistics: Sequence[Statistic], blocks: int, seed: int, resamples: int) -> list[Floats]:
    """[resamples, k] of each statistic, all from the same draws."""
    found: list[list[Floats]] = [[] for _ in statistics]
    for drawn in draws(blocks, seed, resamples):
        for made, statistic in zip(found, statistics, strict=True):
            made.append(statistic(drawn))
    return [np.concatenate(made) for made in found]


def sums(table: Floats) -> Statistic:
    """Sums of the columns of `table` [blocks, k] over what is drawn."""
    return lambda drawn: np.asarray(drawn.astype(np.float64) @ table)


def quantiles(values: Floats, blocks: Ints, shares: Sequence[float]) -> Statistic:
    """The `shares` of `values` [m], which are of `blocks` [m], over what is drawn; NaN where nothing is.

    By Harrell and Davis (1982): a mean of all order statistics, weighted by the beta distribution of the one that is sought.
    Single order statistics jump from value to value: the bootstrap overrates their spread, and half of a gate's power is lost.
    """
    order = np.argsort(values, kind="stable")
    ranked, codes = values[order], blocks[order]
    steps = np.append(ranked[:-1] - ranked[1:], ranked[-1])  # [m]: sum(weight x value) = sum(weight up to it x step)
    rows = max(1, CHUNK_CELLS // len(values))

    def statistic(drawn: Counts) -> Floats:
        parts = (drawn[first : first + rows, codes] for first in range(0, len(drawn), rows))
        return np.concatenate([_weighted(counts, steps, shares) for counts in parts])

    return statistic


def quantile(values: Floats, share: float) -> float:
    """The Harrell-Davis estimate of one quantile of `values` [m]."""
    every = np.ones((1, len(values)), dtype=np.uint8)
    return float(quantiles(values, np.arange(len(values)), [share])(every)[0, 0])


def _weighted(counts: Counts, steps: Floats, shares: Sequence[float]) -> Floats:
    """[r, shares] of the `counts` [r, m] of each value."""
    n = len(steps)
    through = np.cumsum(counts, axis=1, dtype=np.intp)  # [r, m]: values up to each; of the type that indexes fastest
    last = through[:, -1].copy()
    cells = int(last[0])
    if (last != cells).any():  # a resample holds as many values as the items drawn have: rows are brought to one scale
        cells = max(FINEST, n)
        through = np.rint(through * (cells / np.maximum(last, 1))[:, None]).astype(np.intp)
    found = np.stack([_weights(n, share, cells)[through] @ steps for share in shares], axis=1)
    found[last == 0] = np.nan
    return found


@lru_cache(maxsize=8)
def _weights(n: int, share: float, cells: int) -> Floats:
    """[cells + 1]: the weight of all that lies below each of equal steps through `n` values in order."""
    from scipy.special import betainc

    below = np.arange(cells + 1) / max(cells, 1)
    return np.asarray(betainc((n + 1) * share, (n + 1) * (1 - share), below))


def interval(effects: Floats, blocks: int, confidence: float = 0.95) -> Interval | None:
    """The widened percentile interval of resampled effects [resamples]; None where too few of them are defined."""
    defined = effects[np.isfinite(effects)]
    if blocks < 2 or len(defined) < MIN_FINITE * len(effects):
        return None
    tail = 100 * widened((1 - confidence) / 2, blocks)
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)


def p_above(effects: Floats, blocks: int) -> float:
    """One-sided p of "the effect is above 0" from resampled effects [resamples]; 1 where too few of them are defined."""
    defined = effects[np.isfinite(effects)]
    if blocks < 2 or len(defined) < MIN_FINITE * len(effects):
        return 1.0
    share = (1 + int(np.count_nonzero(defined <= 0))) / (1 + len(defined))
    return narrowed(share, blocks)


def widened(tail: float, blocks: int) -> float:
    """The tail of the normal distribution that is as far out as Student's `tail` for `blocks`."""
    from scipy.special import ndtr, stdtrit

    return float(ndtr(stdtrit(blocks - 1, tail) * math.sqrt(blocks / (blocks - 1))))


def narrowed(tail: float, blocks: int) -> float:
    """The inverse of `widened`."""
    from scipy.special import ndtri, stdtr

    return float(stdtr(blocks - 1, ndtri(tail) * math.sqrt((blocks - 1) / blocks)))
