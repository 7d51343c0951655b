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
