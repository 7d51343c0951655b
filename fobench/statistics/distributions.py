"""The distributions that intervals and tests need: normal, Student's t, beta, and the binomial one of equal chances.

They stand here because scipy would be the largest package of an installation that measures a server.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

TERMS = 100_000  # of a continued fraction, at most; about the square root of the parameters are needed
PRECISION = 1e-15
BISECTIONS = 200  # at most: a double has no more between 0 and its largest value that matter here


def normal_cdf(x: float) -> float:
    """The probability of at most `x` under the standard normal distribution."""
    return 0.5 * math.erfc(-x / math.sqrt(2))


def student_cdf(freedom: int, t: float) -> float:
    """The probability of at most `t` under Student's distribution with so many degrees of freedom."""
    if math.isinf(t):
        return float(t > 0)
    if abs(t) < 1:  # about the middle
        tail = 0.5 - 0.5 * float(beta_cdf(0.5, freedom / 2, t * t / (freedom + t * t)))
    else:
        tail = 0.5 * float(beta_cdf(freedom / 2, 0.5, freedom / (freedom + t * t)))
    return tail if t < 0 else 1.0 - tail


@lru_cache(maxsize=1024)
def student_quantile(freedom: int, p: float) -> float:
    """The inverse of `student_cdf`, for 0 < p < 1."""
    if p == 0.5:
        return 0.0
    if p > 0.5:
        return -student_quantile(freedom, 1.0 - p)
    low, high = -1.0, 0.0
    while student_cdf(freedom, low) > p:
        low, high = 2 * low, low
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if student_cdf(freedom, middle) < p else (low, middle)
    return (low + high) / 2


def narrowed_tail(tail: float, freedom: int, factor: float) -> float:
    """The tail of Student's distribution at `factor` times the normal quantile of `tail`, in 0 to 1."""
    return float(tail) if tail in (0.0, 1.0) else student_cdf(freedom, NormalDist().inv_cdf(tail) * factor)


def coin_cdf(successes: int, n: int) -> float:
    """The probability of at most `successes` heads in `n` throws of a fair coin, exact to rounding."""
    term, total, n = 1, 1, int(n)  # of any size, as numpy's are not
    for k in range(1, int(successes) + 1):
        term = term * (n - k + 1) // k
        total += term
    return total / (1 << n)


def beta_cdf(a: float, b: float, x: npt.ArrayLike) -> Any:
    """The regularized incomplete beta function I_x(a, b) of x in [0, 1], a number or an array [...].

    By its continued fraction, on the side of the mean where it converges fast.
    """
    values = np.asarray(x, dtype=np.float64)
    flat = values.ravel()
    mirrored = flat > (a + 1) / (a + b + 2)
    shares = np.empty_like(flat)
    shares[~mirrored] = _below_mean(a, b, flat[~mirrored])
    shares[mirrored] = 1.0 - _below_mean(b, a, 1.0 - flat[mirrored])
    return shares.reshape(values.shape)[()]


def _below_mean(a: float, b: float, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """I_x(a, b) of x [N], at most about the mean, by Lentz's method (Press et al., Numerical Recipes, 6.4)."""
    inner = x > 0  # at 0 it is 0
    x = x[inner]
    found = np.zeros(len(inner))
    if not len(x):
        return found
    constant = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) - math.log(a)
    front = np.exp(constant + a * np.log(x) + b * np.log1p(-x))
    c, d = np.ones_like(x), 1.0 / (1.0 - (a + b) * x / (a + 1))
    fraction = d.copy()
    for m in range(1, TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1.0 / (1.0 + even * d), 1.0 + even / c
        fraction *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1.0 / (1.0 + odd * d), 1.0 + odd / c
        step = d * c
        fraction *= step
        if np.abs(step - 1.0).max() <= PRECISION:
            break
    found[inner] = front * fraction
    return found
