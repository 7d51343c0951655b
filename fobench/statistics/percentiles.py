"""Percentiles with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fobench.errors import FobenchError
from fobench.statistics.bootstrap import (
    CHUNK_CELLS,
    P90_MIN_N,
    P99_MIN_N,
    RESAMPLES,
    SEED,
    Blocks,
    Counts,
    Floats,
    Interval,
    Ints,
    blocks,
    cluster_interval,
    draws,
    percentile_interval,
    with_estimate,
    with_width,
)

P50_CI_MIN_N = 6  # 2 x 0.5^6 = 3 %: the least n at which the sample's range covers the median with 95 %
P90_CI_MIN_N = 36  # 0.9^36 = 2.3 %: the least n at which the sample's maximum lies above p90 with 97.5 %

# ---- Percentiles -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Percentiles:
    """p50, p90 and p99 (linear interpolation of order statistics); None if n is below `P90_MIN_N` or `P99_MIN_N`.

    `p50_ci` needs `P50_CI_MIN_N` values and `p90_ci` `P90_CI_MIN_N`: with fewer, all values may lie on one side of the true
    percentile in more than 2.5 % of all samples. `p50_cluster_ci` respects the groups where items are resampled.
    """

    n: int
    p50: float
    p50_ci: Interval | None
    p90: float | None
    p90_ci: Interval | None
    p99: float | None
    p50_cluster_ci: Interval | None = None


def percentiles(
    values: Sequence[float] | Floats,
    groups: Sequence[str] | None = None,
    *,
    confidence: float = 0.95,
    seed: int = SEED,
    resamples: int = RESAMPLES,
) -> Percentiles:
    """The percentiles of `values` [n], with bootstrap intervals of p50 and p90. Raises FobenchError for no values."""
    array = np.asarray(values, dtype=float)
    n = len(array)
    if not n:
        raise FobenchError("Percentiles need at least one value.")
    p50, p90, p99 = (float(p) for p in np.percentile(array, [50, 90, 99]))
    parts = blocks(groups, n)
    cis: list[Interval | None] = [None, None]
    if n >= P50_CI_MIN_N:
        estimates = resampled_percentiles(array, (0.5, 0.9), parts, seed, resamples)
        found = [percentile_interval(column, confidence, resamples, parts.count) for column in estimates.T]
        cis = [with_estimate(ci, estimate) for ci, estimate in zip(found, (p50, p90), strict=True)]
    return Percentiles(
        n,
        p50,
        cis[0],
        p90 if n >= P90_MIN_N else None,
        cis[1] if n >= P90_CI_MIN_N else None,
        p99 if n >= P99_MIN_N else None,
        median_cluster_interval(array, groups, confidence) if groups is not None and parts.groups else None,
    )


def median_cluster_interval(values: Floats, groups: Sequence[str], confidence: float = 0.95) -> Interval | None:
    """The cluster-robust interval of the median: the quantiles at the ends of the interval of the share below it (Woodruff 1952).

    None for fewer than three groups, or if an end lies outside of the sample.
    """
    median = float(np.median(values))
    below = (values < median) + 0.5 * (values == median)  # a tie counts half, so that the share is near 1/2
    share = cluster_interval(below, None, groups, confidence)
    if share is None or share[0] <= 0 or share[1] >= 1:
        return None
    low, high = np.quantile(values, share)
    return with_estimate(with_width((float(low), float(high))), median)


def resampled_percentiles(
    values: Floats, shares: Sequence[float], parts: Blocks, seed: int = SEED, resamples: int = RESAMPLES
) -> Floats:
    """The percentiles [resamples, shares] of each resample, computed from the counts of draws without sorting again."""
    order = np.argsort(values, kind="stable")
    ranked, codes = values[order], parts.codes[order]
    estimates = []
    for drawn in draws(parts.count, seed, resamples):
        rows = max(1, CHUNK_CELLS // len(values))
        for start in range(0, len(drawn), rows):
            estimates.append(
                _percentiles_of_counts(ranked, np.take(drawn[start : start + rows], codes, axis=1), shares)
            )
    return np.concatenate(estimates)


def _percentiles_of_counts(ranked: Floats, counts: Counts, shares: Sequence[float]) -> Floats:
    """The percentiles [r, shares] of `ranked` [n] values that occur `counts` [r, n] times in each resample."""
    cumulative = np.cumsum(counts, axis=1, dtype=np.int64)  # [r, n]: cumulative counts
    last = cumulative[:, -1].copy()
    offset = np.arange(len(cumulative)) * (int(last.max()) + 1)
    cumulative += offset[:, None]  # rows are concatenated for a single search
    at = (last - 1) * np.asarray(shares)[:, None]  # [shares, r]: fractional rank
    low, high = (
        ranked[_rank_columns(cumulative, ranks.astype(np.int64) + offset)] for ranks in (np.floor(at), np.ceil(at))
    )
    estimates: Floats = (low + (high - low) * (at - np.floor(at))).T
    return estimates


def _rank_columns(cumulative: Ints, ranks: Ints) -> Ints:
    """The column [shares, r] at which the cumulative count of each row exceeds its rank."""
    rows, n = cumulative.shape
    columns: Ints = np.searchsorted(cumulative.ravel(), ranks, side="right") - np.arange(rows) * n
    return columns
