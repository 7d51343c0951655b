"""The distributions are scipy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from fobench.statistics import distributions

FREEDOM = st.integers(1, 5_000)


@given(FREEDOM, st.floats(-30, 30))
def test_students_distribution(freedom, t):
    assert distributions.student_cdf(freedom, t) == pytest.approx(special.stdtr(freedom, t), rel=1e-9, abs=1e-300)


@given(FREEDOM, st.floats(1e-6, 1 - 1e-6))
def test_students_quantiles_are_the_inverse(freedom, p):
    t = distributions.student_quantile(freedom, p)
    assert t == pytest.approx(special.stdtrit(freedom, p), rel=1e-7, abs=1e-9)
    assert distributions.student_cdf(freedom, t) == pytest.approx(p, rel=1e-10)


@given(st.integers(1, 3_000), st.floats(0.01, 0.99))
def test_the_beta_distribution_at_all_ranks(n, share):
    a, b, ranks = (n + 1) * share, (n + 1) * (1 - share), np.linspace(0, 1, 50)
    np.testing.assert_allclose(distributions.beta_cdf(a, b, ranks), special.betainc(a, b, ranks), rtol=0, atol=1e-10)


@given(st.integers(0, 3_000), st.data())
def test_coins(n, data):
    k = data.draw(st.integers(0, n))
    assert distributions.coin_cdf(k, n) == pytest.approx(special.bdtr(k, n, 0.5), rel=1e-9, abs=1e-300)
    assert distributions.coin_cdf(np.int64(k), np.int64(n)) == distributions.coin_cdf(k, n)  # numpy's would overflow


@given(st.floats(-30, 30), st.integers(2, 1_000))
def test_the_normal_distribution_and_narrowed_tails(x, freedom):
    assert distributions.normal_cdf(x) == pytest.approx(special.ndtr(x), rel=1e-12)
    tail = special.ndtr(x)
    expected = special.stdtr(freedom, special.ndtri(tail) * 0.9)
    assert distributions.narrowed_tail(tail, freedom, 0.9) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("tail", [0.0, 1.0])
def test_a_tail_at_its_end_stays(tail):
    assert distributions.narrowed_tail(tail, 5, 0.9) == tail
