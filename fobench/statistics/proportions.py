"""Proportions: Wilson intervals, paired differences and ratios, McNemar's test, Holm's correction, non-inferiority."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

from fobench.errors import FobenchError
from fobench.statistics.bootstrap import Interval
from fobench.statistics.distributions import coin_cdf

Verdict = Literal["non-inferior", "inferior", "inconclusive"]


# ---- Proportions and paired tables -----------------------------------------------------------------------------------


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval | None:
    """Wilson's score interval of a proportion (Wilson 1927; Newcombe 1998, method 3); None for n = 0."""
    if not 0 <= successes <= n:
        raise FobenchError(f"{successes} successes of {n} is not a proportion.")
    if not n:
        return None
    return _score_interval(successes, n, NormalDist().inv_cdf((1 + confidence) / 2))


def _score_interval(successes: int, n: int, z: float) -> Interval:
    """Wilson's interval at the normal quantile `z`; exactly 0 or 1 at its closed end."""
    share = successes / n
    center = share + z * z / (2 * n)
    half_width = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = (center - half_width) / (1 + z * z / n), (center + half_width) / (1 + z * z / n)
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)


def mcnemar(b: int, c: int) -> float:
    """Exact two-sided p of McNemar's test: `b` pairs are correct only in the first, `c` only in the second (1 for none)."""
    return min(1.0, 2 * coin_cdf(min(b, c), b + c)) if b + c else 1.0


def sign_test(ups: int, downs: int) -> float:
    """Exact one-sided p of McNemar's test: the probability of at least `ups` among the discordant pairs (1 for none)."""
    return coin_cdf(downs, ups + downs) if ups + downs else 1.0


def paired_shares(lost: int, gained: int, n: int, confidence: float = 0.95) -> Interval:
    """Interval of the difference of two paired proportions of `n` pairs, within -1 and 1 (Bonett and Price 2012).

    Wald's interval with one lost and one gained pair added. Unlike a bootstrap, it keeps its level with few discordant pairs.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    down, up = (lost + 1) / (n + 2), (gained + 1) / (n + 2)
    half_width = z * math.sqrt((down + up - (up - down) ** 2) / (n + 2))
    return max(-1.0, up - down - half_width), min(1.0, up - down + half_width)


def paired_ratio(both: int, lost: int, gained: int, confidence: float = 0.95) -> Interval | None:
    """Interval of the ratio of two paired proportions, (both + gained) / (both + lost); None if the denominator is 0.

    Counts of pairs: correct in `both`, only in the reference (`lost`), only in the tested one (`gained`). Hybrid of Wilson's
    score intervals (Bonett and Price 2006; Fagerland, Lydersen and Laake 2014, section 6.3). Unlike a bootstrap, it has a width
    without discordant pairs.
    """
    tested, reference, n = both + gained, both + lost, both + lost + gained
    if not reference:
        return None
    spread = math.sqrt((lost + gained + 2) / ((tested + 1) * (reference + 1)))
    own = [math.sqrt((1 - (count + 1) / (n + 2)) / (count + 1)) for count in (tested, reference)]
    z = NormalDist().inv_cdf((1 + confidence) / 2) * spread / sum(own)
    (low, high), (reference_low, reference_high) = (_score_interval(count, n, z) for count in (tested, reference))
    return low / reference_high, high / reference_low


def cohen_kappa(both_yes: int, first_only: int, second_only: int, both_no: int) -> float | None:
    """Cohen's kappa of two raters (Cohen 1960): agreement beyond chance, 1 at most.

    None without ratings, and where chance alone agrees fully: both raters gave one and the same rating throughout.
    """
    n = both_yes + first_only + second_only + both_no
    first, second = both_yes + first_only, both_yes + second_only
    by_chance = first * second + (n - first) * (n - second)  # of n * n
    return None if by_chance == n * n else ((both_yes + both_no) * n - by_chance) / (n * n - by_chance)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-corrected p-values of a family of hypotheses, in the given order (Holm 1979); reject those below alpha."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p_values[i]))
        corrected[i] = least
    return corrected


def min_pairs(margin: float) -> int:
    """The least number of pairs in which a loss of `margin` pp is missed with at most 5 % probability (99 for 3 pp)."""
    if not 0 < margin < 100:
        raise FobenchError(f"A margin of {margin} pp is not valid: it must be between 0 and 100.")
    return math.ceil(math.log(0.05) / math.log(1 - margin / 100))


def non_inferiority(difference: Interval | None, margin: float, n: int, p: float) -> Verdict:
    """The verdict of the non-inferiority test with a margin of `margin` pp.

    `difference`: two-sided 90 % interval of (tested - reference) in pp, so that its lower end is the bound of the one-sided
    95 % test. `non-inferior`: it lies above -margin, and `n` is at least `min_pairs` (a bootstrap of few pairs without a
    loss has zero width). `inferior`: it lies below -margin, and McNemar's `p` is under 0.1.
    """
    required = min_pairs(margin)
    if difference is None:
        return "inconclusive"
    if difference[0] > -margin and n >= required:
        return "non-inferior"
    return "inferior" if difference[1] < -margin and p < 0.1 else "inconclusive"
