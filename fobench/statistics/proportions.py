"""Proportions: Wilson intervals, McNemar's test, Holm's correction, non-inferiority."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

from fobench.errors import FobenchError
from fobench.statistics.bootstrap import Interval

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
