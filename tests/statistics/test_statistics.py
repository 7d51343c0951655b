"""Intervals and tests against literal values, exact distributions and independent implementations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fobench.errors import FobenchError
from fobench.statistics import bootstrap, percentiles, proportions


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # these four: Newcombe (1998), Statistics in Medicine 17, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (8, 10, 0.4902, 0.9433),
        (10, 10, 0.7225, 1.0000),
    ],
)
def test_wilson(successes, n, low, high):
    assert proportions.wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_of_nothing_is_no_interval():
    assert proportions.wilson(0, 0) is None


def test_wilson_refuses_what_is_no_proportion():
    with pytest.raises(FobenchError, match="3 successes of 2"):
        proportions.wilson(3, 2)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_wilson_covers_at_its_level(share):
    """The exact coverage over all outcomes of 40 trials."""
    n = 40
    covered = sum(
        math.comb(n, k) * share**k * (1 - share) ** (n - k)
        for k in range(n + 1)
        if proportions.wilson(k, n)[0] <= share <= proportions.wilson(k, n)[1]
    )
    assert 0.92 < covered < 0.985


@pytest.mark.parametrize(
    ("b", "c", "p"),
    [
        (6, 1, 0.125),  # 2 * (1 + 7) / 2**7
        (0, 0, 1.0),
        (5, 5, 1.0),
        (0, 6, 0.03125),  # 2 / 2**6
        (150, 86, 3.7159e-05),  # approval of a prime minister, Agresti (1990), table 10.1: z**2 = 17.36
    ],
)
def test_mcnemar(b, c, p):
    assert proportions.mcnemar(b, c) == pytest.approx(p, rel=1e-4)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_a_fair_coin(b, c):
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert proportions.mcnemar(b, c) == pytest.approx(min(1.0, 2 * tail))
    assert proportions.mcnemar(b, c) == proportions.mcnemar(c, b)


class TestNonInferiority:
    def test_an_interval_above_the_margin_is_non_inferior(self):
        assert proportions.non_inferiority((-2.0, 1.0), 3.0, n=240, p=0.8) == "non-inferior"

    def test_an_interval_that_holds_the_margin_is_inconclusive(self):
        assert proportions.non_inferiority((-4.0, 1.0), 3.0, n=240, p=0.8) == "inconclusive"

    def test_an_interval_below_the_margin_is_inferior(self):
        assert proportions.non_inferiority((-12.0, -4.0), 3.0, n=240, p=0.001) == "inferior"

    def test_a_few_pairs_without_a_loss_prove_nothing(self):
        """The bootstrap of ten equal pairs has no width; by the rule of three a loss of 26 points may hide in them."""
        assert proportions.non_inferiority((0.0, 0.0), 3.0, n=10, p=1.0) == "inconclusive"

    def test_one_lost_pair_proves_nothing(self):
        assert proportions.non_inferiority((-100.0, -100.0), 3.0, n=1, p=1.0) == "inconclusive"

    def test_no_interval_no_verdict(self):
        assert proportions.non_inferiority(None, 3.0, n=0, p=1.0) == "inconclusive"

    @pytest.mark.parametrize(("margin", "pairs"), [(3.0, 99), (5.0, 59), (10.0, 29)])
    def test_min_pairs(self, margin, pairs):
        assert proportions.min_pairs(margin) == pairs

    @pytest.mark.parametrize("margin", [0.0, -1.0, 100.0])
    def test_a_margin_that_makes_no_test_is_refused(self, margin):
        with pytest.raises(FobenchError, match="between 0 and 100"):
            proportions.min_pairs(margin)


class TestBootstrap:
    def test_a_share_is_resampled_as_a_binomial(self):
        """10 of 20: resampled means follow Binomial(20, 1/2) / 20, whose 1.6 % and 98.4 % quantiles (t with 19) are 5 and 15."""
        assert bootstrap.widen_tail(0.025, 20) == pytest.approx(0.0159, abs=1e-4)
        assert bootstrap.bootstrap_interval([0.0, 1.0] * 10) == pytest.approx((0.25, 0.75))

    def test_blocks_of_equal_items_count_once(self):
        """Twenty groups of five equal items carry no more than twenty items."""
        values = [float(i % 2) for i in range(20) for _ in range(5)]
        groups = [f"speaker-{i}" for i in range(20) for _ in range(5)]
        assert bootstrap.bootstrap_interval(values, groups=groups) == pytest.approx((0.25, 0.75))
        narrow = bootstrap.bootstrap_interval(values)
        assert narrow[1] - narrow[0] < 0.25

    def test_fewer_than_ten_groups_fall_back_to_items(self):
        groups = list("abcdefghi")
        assert bootstrap.blocks([*groups, "a"] * 2, 20).unit == "item"
        assert bootstrap.blocks([*groups, "j"] * 2, 20).unit == "group"
        values = [float(i % 3) for i in range(20)]
        assert bootstrap.bootstrap_interval(values, groups=[*groups, "a"] * 2) == bootstrap.bootstrap_interval(values)

    def test_equal_seeds_give_equal_intervals(self):
        values, groups = np.random.default_rng(1).normal(size=60), [f"s{i % 12}" for i in range(60)]
        first = bootstrap.bootstrap_interval(values, groups=groups, seed=3)
        bootstrap._cached_draws.cache_clear()
        assert bootstrap.bootstrap_interval(values, groups=groups, seed=3) == first
        assert bootstrap.bootstrap_interval(values, groups=groups, seed=4) != first

    def test_what_the_groups_are_called_and_item_order_change_nothing(self):
        values, groups = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0], ["a", "b", "c", "d", "e", "f"]
        assert bootstrap.bootstrap_interval(values[::-1], groups=groups[::-1]) == bootstrap.bootstrap_interval(
            values, groups=groups
        )

    def test_a_ratio_is_pooled(self):
        """Errors over words, not the mean of rates: 1 of 1 and 0 of 99 make 1 %."""
        low, high = bootstrap.bootstrap_interval([1.0, 0.0] * 50, [1.0, 99.0] * 50)
        assert low < 0.01 < high < 0.03

    def test_a_pair_stays_a_pair(self):
        """A nearly constant difference has a narrow interval, however much the items vary; a constant one has none."""
        rng = np.random.default_rng(1)
        second, noise = rng.normal(size=50), rng.normal(size=50)
        low, high = bootstrap.bootstrap_interval((second + 2.0 + 1e-3 * noise) - second)
        assert 1.999 < low < 2.0 < high < 2.001
        low, high = bootstrap.bootstrap_interval(np.exp(second) * (3.0 + 1e-3 * noise), np.exp(second))
        assert 2.999 < low < high < 3.001
        assert bootstrap.bootstrap_interval((second + 2.0) - second) is None

    def test_a_ratio_over_mostly_nothing_has_no_interval(self):
        assert bootstrap.bootstrap_interval([1.0] * 10, [1.0] + [0.0] * 9) is None

    def test_one_item_has_no_interval(self):
        assert bootstrap.bootstrap_interval([0.7]) is None
        assert bootstrap.bootstrap_interval([]) is None

    def test_groups_must_fit(self):
        with pytest.raises(FobenchError, match="2 groups do not fit 3 items"):
            bootstrap.bootstrap_interval([1.0, 2.0, 3.0], groups=["a", "b"])

    def test_draws_do_not_depend_on_the_chunks(self, monkeypatch):
        whole = np.concatenate(list(bootstrap._generate_draws(7, 0, 100)))
        monkeypatch.setattr(bootstrap, "CHUNK_CELLS", 70)
        assert np.array_equal(np.concatenate(list(bootstrap._generate_draws(7, 0, 100))), whole)
        assert (whole.sum(axis=1) == 7).all()

    def test_intervals_cover_at_their_level(self):
        """200 samples of 60: the true mean and median lie in about 95 % of their intervals."""
        rng = np.random.default_rng(5)
        samples = rng.exponential(size=(200, 60))
        means = [bootstrap.bootstrap_interval(sample, resamples=1000) for sample in samples]
        medians = [percentiles.percentiles(sample, resamples=1000).p50_ci for sample in samples]
        assert 0.88 < np.mean([low <= 1.0 <= high for low, high in means]) < 0.99
        assert 0.88 < np.mean([low <= math.log(2) <= high for low, high in medians]) < 0.99


class TestPercentiles:
    def test_known_values(self):
        found = percentiles.percentiles([float(i) for i in range(101)])
        assert (found.p50, found.p90, found.p99, found.n) == (50.0, 90.0, 99.0, 101)

    def test_p90_is_hidden_under_ten_and_p99_under_a_hundred(self):
        nine, ten, many = (percentiles.percentiles(np.arange(n)) for n in (9, 10, 99))
        assert (nine.p90, nine.p90_ci) == (None, None)
        assert ten.p90 == pytest.approx(8.1)
        assert many.p99 is None

    def test_one_value_has_no_interval(self):
        assert percentiles.percentiles([5.0]) == percentiles.Percentiles(1, 5.0, None, None, None, None)

    def test_no_values_are_refused(self):
        with pytest.raises(FobenchError, match="at least one"):
            percentiles.percentiles([])

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.integers(-50, 50), min_size=5, max_size=40), st.integers(2, 9))
    def test_resampled_percentiles_are_those_of_the_resampled_values(self, values, n_groups):
        """Against numpy on the values written out."""
        array = np.asarray(values, dtype=float)
        parts = bootstrap.blocks([str(i % n_groups) for i in range(len(values))], len(values))
        found = percentiles.resampled_percentiles(array, (0.5, 0.9), parts, seed=1, resamples=30)
        drawn = np.concatenate(list(bootstrap.draws(parts.count, 1, 30)))
        expected = [np.percentile(np.repeat(array, counts[parts.codes]), [50, 90]) for counts in drawn]
        assert np.allclose(found, expected)


def test_memory_stays_small():
    """10,000 resamples of 2,000 items; numpy tells tracemalloc of its arrays."""
    import tracemalloc

    bootstrap._cached_draws.cache_clear()
    values = np.random.default_rng(1).normal(size=2000)
    tracemalloc.start()
    bootstrap.bootstrap_interval(values)
    percentiles.percentiles(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    bootstrap._cached_draws.cache_clear()
    assert peak < 200e6


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        ((20, 5, 10, 15), 0.4),  # both yes, first only, second only, both no
        ((45, 15, 25, 15), 0.13043478),
        ((25, 35, 5, 35), 0.25925926),
        ((10, 0, 0, 10), 1.0),
        ((0, 10, 10, 0), -1.0),
        ((5, 5, 5, 5), 0.0),
        ((10, 0, 0, 0), None),
        ((0, 0, 0, 0), None),
    ],
)
def test_cohens_kappa_of_known_tables(table, kappa):
    assert proportions.cohen_kappa(*table) == (kappa if kappa is None else pytest.approx(kappa))
