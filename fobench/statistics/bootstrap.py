"""Intervals and tests: pure functions of numbers, seeded and vectorised.

Bootstrap intervals are percentile intervals over 10,000 resamples. What is resampled are *blocks*: all items of a group
(a speaker, a dialogue) together, because they are not independent; with fewer than 10 groups, single items.
Resamples are made as tables of how often each block is drawn, in chunks, so that memory stays under 200 MB.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
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
Verdict = Literal["non-inferior", "inferior", "inconclusive"]


# ---- Proportions and paired tables -----------------------------------------------------------------------------------


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval | None:
    """Wilson's score interval of a proportion (Wilson 1927; Newcombe 1998, method 3). None for n = 0."""
    if not 0 <= successes <= n:
        raise FobenchError(f"{successes} successes of {n} is no proportion.")
    if not n:
        return None
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = (centre - spread) / (1 + z * z / n), (centre + spread) / (1 + z * z / n)
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)


def mcnemar(b: int, c: int) -> float:
    """Exact two-sided p of McNemar's test: `b` pairs right only in the first, `c` only in the second (1 for none)."""
    from scipy.stats import binomtest

    return float(binomtest(b, b + c, 0.5).pvalue) if b + c else 1.0


def sign_test(ups: int, downs: int) -> float:
    """Exact one-sided p of McNemar's test: so many `ups`, or more, among the discordant pairs by chance (1 for none)."""
    from scipy.special import bdtr

    return float(bdtr(downs, ups + downs, 0.5)) if ups + downs else 1.0


def paired_shares(lost: int, gained: int, n: int, confidence: float = 0.95) -> Interval:
    """Interval of the difference of two paired shares of `n` (Bonett and Price 2012), within -1 and 1.

    Wald's with a lost and a gained pair added: it keeps its level also where hardly a pair differs, as a bootstrap does not.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    down, up = (lost + 1) / (n + 2), (gained + 1) / (n + 2)
    spread = z * math.sqrt((down + up - (up - down) ** 2) / (n + 2))
    return max(-1.0, up - down - spread), min(1.0, up - down + spread)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) corrected p of each hypothesis of a family, in the given order: below alpha, family-wise, is rejected."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p_values[i]))
        corrected[i] = least
    return corrected


def needed_pairs(margin: float) -> int:
    """Pairs below which a loss of `margin` points could go unseen with a chance over 5 % (99 for 3 points)."""
    if not 0 < margin < 100:
        raise FobenchError(f"A margin of {margin} points makes no test: give one between 0 and 100.")
    return math.ceil(math.log(0.05) / math.log(1 - margin / 100))


def non_inferiority(difference: Interval | None, margin: float, n: int, p: float) -> Verdict:
    """Verdict on "not worse by `margin` points or more".

    `difference`: two-sided 90 % interval of (tested - reference) in points, so that its lower end is the bound of the
    one-sided 95 % test. `non-inferior`: it lies wholly above -margin, and there are `needed_pairs` (a bootstrap of few
    pairs without a loss has no width at all). `inferior`: it lies wholly below -margin and McNemar's `p` is under 0.1.
    """
    needed = needed_pairs(margin)
    if difference is None:
        return "inconclusive"
    if difference[0] > -margin and n >= needed:
        return "non-inferior"
    return "inferior" if difference[1] < -margin and p < 0.1 else "inconclusive"


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


# ---- Percentiles -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Percentiles:
    """p50, p90 and p99 (linear between order statistics); None where n is too small to show them."""

    n: int
    p50: float
    p50_ci: Interval | None
    p90: float | None
    p90_ci: Interval | None
    p99: float | None


def percentiles(
    values: Sequence[float] | Floats,
    groups: Sequence[str] | None = None,
    *,
    confidence: float = 0.95,
    seed: int = SEED,
    resamples: int = RESAMPLES,
) -> Percentiles:
    """The percentiles of at least one value, with bootstrap intervals of p50 and p90."""
    array = np.asarray(values, dtype=float)
    n = len(array)
    if not n:
        raise FobenchError("Percentiles need at least one value.")
    p50, p90, p99 = (float(p) for p in np.percentile(array, [50, 90, 99]))
    parts = blocks(groups, n)
    cis: list[Interval | None] = [None, None]
    if parts.count > 1:
        estimates = resampled_percentiles(array, (0.5, 0.9), parts, seed, resamples)
        cis = [percentile_interval(column, confidence, resamples) for column in estimates.T]
    shown = n >= P90_MIN_N
    return Percentiles(
        n, p50, cis[0], p90 if shown else None, cis[1] if shown else None, p99 if n >= P99_MIN_N else None
    )


def resampled_percentiles(
    values: Floats, shares: Sequence[float], parts: Blocks, seed: int = SEED, resamples: int = RESAMPLES
) -> Floats:
    """[resamples, shares]: each share's percentile in each resample, from the counts of draws, without sorting again."""
    order = np.argsort(values, kind="stable")
    ranked, codes = values[order], parts.codes[order]
    found = []
    for drawn in draws(parts.count, seed, resamples):
        rows = max(1, CHUNK_CELLS // len(values))
        for start in range(0, len(drawn), rows):
            found.append(_at_shares(ranked, np.take(drawn[start : start + rows], codes, axis=1), shares))
    return np.concatenate(found)


def _at_shares(ranked: Floats, counts: Counts, shares: Sequence[float]) -> Floats:
    """[r, shares]: each share's percentile of `ranked` [n], of which each resample holds `counts` [r, n]."""
    through = np.cumsum(counts, axis=1, dtype=np.int64)  # [r, n]: items up to each
    last = through[:, -1].copy()
    offset = np.arange(len(through)) * (int(last.max()) + 1)
    through += offset[:, None]  # rows are laid end to end, so that one search serves all
    at = (last - 1) * np.asarray(shares)[:, None]  # [shares, r]: fractional rank
    low, high = (ranked[_places(through, ranks.astype(np.int64) + offset)] for ranks in (np.floor(at), np.ceil(at)))
    found: Floats = (low + (high - low) * (at - np.floor(at))).T
    return found


def _places(through: Ints, ranks: Ints) -> Ints:
    """The column in which each row's count reaches a rank [shares, r] of its own."""
    rows, n = through.shape
    places: Ints = np.searchsorted(through.ravel(), ranks, side="right") - np.arange(rows) * n
    return places
