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
    draws,
    percentile_interval,
)

# ---- Percentiles -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Percentiles:
    """p50, p90 and p99 (linear interpolation of order statistics); None if n is below `P90_MIN_N` or `P99_MIN_N`."""

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
    """The percentiles of `values` [n], with bootstrap intervals of p50 and p90. Raises FobenchError for no values."""
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
    has_p90 = n >= P90_MIN_N
    return Percentiles(
        n, p50, cis[0], p90 if has_p90 else None, cis[1] if has_p90 else None, p99 if n >= P99_MIN_N else None
    )


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
