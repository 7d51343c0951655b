"""No interval is degenerate: each holds its estimate and has a width, or there is none; and each covers at its level."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.statistics import bootstrap, percentiles, proportions

FEW = 100  # resamples: the properties hold for any number
VALUES = st.lists(st.floats(0, 1e6, allow_subnormal=False).map(lambda x: round(x, 3)), min_size=1, max_size=25)


def holds(interval, estimate):
    """Whether an interval has a width and holds its estimate; True for none."""
    if interval is None:
        return True
    low, high = interval
    return low < high and low <= estimate * (1 + 1e-12) + 1e-12 and high >= estimate * (1 - 1e-12) - 1e-12


@given(st.integers(1, 400), st.data())
def test_a_proportion_always_has_a_proper_interval(n, data):
    hits = data.draw(st.integers(0, n))
    interval = proportions.wilson(hits, n)
    assert interval is not None and holds(interval, hits / n)
    assert 0 <= interval[0] < interval[1] <= 1


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_paired_proportions_always_have_proper_intervals(both, lost, gained, neither):
    n = both + lost + gained + neither
    if n:
        interval = proportions.paired_shares(lost, gained, n)
        assert holds(interval, (gained - lost) / n) and interval is not None
    interval = proportions.paired_ratio(both, lost, gained)
    assert (interval is None) == (both + lost == 0)
    assert interval is None or holds(interval, (both + gained) / (both + lost))


@given(VALUES, st.integers(1, 12))
def test_a_mean_has_a_proper_interval_or_none(values, n_groups):
    groups, mean = [f"s{i % n_groups}" for i in range(len(values))], float(np.mean(values))
    assert holds(bootstrap.bootstrap_interval(values, groups=groups, resamples=FEW), mean)
    assert holds(bootstrap.cluster_interval(values, None, groups), mean)
    if len({*values}) == 1 or len(values) < 3:
        assert bootstrap.bootstrap_interval(values, resamples=FEW) is None
    elif len(values) < bootstrap.MIN_BLOCKS:
        assert bootstrap.bootstrap_interval(values, resamples=FEW) is not None


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 20)), min_size=1, max_size=25), st.integers(1, 6))
def test_an_error_rate_has_a_proper_interval_or_none(utterances, n_groups):
    errors, words = zip(*utterances, strict=True)
    groups, rate = [f"s{i % n_groups}" for i in range(len(errors))], sum(errors) / sum(words)
    for interval in (
        bootstrap.bootstrap_interval(errors, words, groups=groups, resamples=FEW),
        bootstrap.cluster_interval(errors, words, groups),
    ):
        assert holds(interval, rate) and (interval is None or interval[0] >= 0)


@given(VALUES, st.integers(1, 12))
def test_a_percentile_has_a_proper_interval_or_none(values, n_groups):
    found = percentiles.percentiles(values, [f"s{i % n_groups}" for i in range(len(values))], resamples=FEW)
    assert holds(found.p50_ci, found.p50) and holds(found.p50_cluster_ci, found.p50)
    assert found.p90 is None or holds(found.p90_ci, found.p90)
    assert found.p50_ci is None or len(values) >= 6
    assert found.p90_ci is None or len(values) >= 36


def test_few_values_have_the_interval_of_student():
    """Of 1, 2, 3: 2 +- 4.303 x 1 / sqrt(3), not below 0 as no value is negative."""
    assert bootstrap.bootstrap_interval([1.0, 2.0, 3.0]) == pytest.approx((0.0, 4.4841), abs=1e-3)
    assert bootstrap.bootstrap_interval([-1.0, 0.0, 1.0]) == pytest.approx((-2.4841, 2.4841), abs=1e-3)


def test_a_cluster_interval_is_that_of_the_group_means_where_groups_are_equal():
    """Four speakers with ten equal items each: Student's interval of the four means, 2.5 +- 3.182 x 1.291 / 2."""
    values = np.repeat([1.0, 2.0, 3.0, 4.0], 10)
    groups = np.repeat(list("abcd"), 10).tolist()
    assert bootstrap.cluster_interval(values, None, groups) == pytest.approx((0.4457, 4.5543), abs=1e-3)
    by_item = bootstrap.bootstrap_interval(values, groups=groups)
    assert by_item is not None and by_item[1] - by_item[0] < 0.8
    assert bootstrap.blocks(groups, 40).groups == 4


def test_groups_of_single_items_are_no_fallback():
    assert bootstrap.blocks(list("abc"), 3).groups == 0
    assert bootstrap.blocks(["a"] * 3, 3).groups == 1
    assert bootstrap.blocks([str(i % 10) for i in range(20)], 20).groups == 0


@pytest.mark.parametrize(
    ("both", "lost", "gained", "low", "high"),
    [
        (60, 10, 5, 0.8250, 1.0427),
        (100, 0, 0, 0.9812, 1.0192),
        (0, 10, 0, 0.0, 0.3841),
    ],
)
def test_the_ratio_of_paired_proportions(both, lost, gained, low, high):
    """By the formula of Fagerland, Lydersen and Laake (2014), computed apart."""
    tested, reference, n = both + gained, both + lost, both + lost + gained
    first, second = (tested + 1) / (n + 2), (reference + 1) / (n + 2)
    a = math.sqrt((lost + gained + 2) / ((tested + 1) * (reference + 1)))
    z = 1.959964 * a / (math.sqrt((1 - first) / (tested + 1)) + math.sqrt((1 - second) / (reference + 1)))

    def ends(x):
        root = z * math.sqrt(z * z + 4 * x * (1 - x / n))
        return (2 * x + z * z - root) / (2 * (n + z * z)), (2 * x + z * z + root) / (2 * (n + z * z))

    expected = ends(tested)[0] / ends(reference)[1], ends(tested)[1] / ends(reference)[0]
    found = proportions.paired_ratio(both, lost, gained)
    assert found == pytest.approx(expected, abs=1e-6)
    assert found == pytest.approx((low, high), abs=5e-3)


# ---- Coverage ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "both", "lost", "gained"),
    [(50, 0.4, 0.1, 0.05), (100, 0.6, 0.05, 0.02), (30, 0.5, 0.2, 0.1), (260, 0.45, 0.04, 0.02)],
)
def test_paired_intervals_cover_at_their_level(n, both, lost, gained):
    rng, ratio, difference = np.random.default_rng(1), (both + gained) / (both + lost), gained - lost
    covered = np.zeros(2)
    for counts in rng.multinomial(n, [both, lost, gained, 1 - both - lost - gained], size=2000):
        b, down, up = map(int, counts[:3])
        of_ratio = proportions.paired_ratio(b, down, up) or (0.0, math.inf)
        of_difference = proportions.paired_shares(down, up, n)
        covered += of_ratio[0] <= ratio <= of_ratio[1], of_difference[0] <= difference <= of_difference[1]
    assert (covered / 2000 > 0.93).all() and (covered / 2000 < 0.985).all()


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "items"), [(4, 30), (8, 20), (9, 60)])
def test_cluster_intervals_cover_at_their_level_where_items_do_not(groups, items):
    """Speakers differ by as much as items of one speaker do."""
    rng, names = np.random.default_rng(2), np.repeat([f"s{i}" for i in range(groups)], items).tolist()
    covered = np.zeros(3)
    for _ in range(500):
        values = rng.normal(np.repeat(rng.normal(5, 1, groups), items), 1)
        words = rng.integers(5, 15, groups * items).astype(float)
        by_speaker = bootstrap.cluster_interval(values * words, words, names)
        by_item = bootstrap.bootstrap_interval(values * words, words, groups=names, resamples=300)
        median = percentiles.median_cluster_interval(values, names) or (-math.inf, math.inf)
        covered += [low <= 5 <= high for low, high in (by_speaker, by_item, median)]
    assert 0.92 < covered[0] / 500 < 0.99
    assert covered[1] / 500 < 0.8
    assert covered[2] / 500 > 0.92


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 5, 9, 10, 15, 40])
def test_means_and_medians_of_few_values_cover_at_their_level(n):
    samples = np.random.default_rng(n).normal(size=(500, n))
    means = [bootstrap.bootstrap_interval(sample, resamples=500) for sample in samples]
    assert 0.92 < np.mean([low <= 0 <= high for low, high in means]) < 0.985
    if n >= 6:
        medians = [percentiles.percentiles(sample, resamples=500).p50_ci for sample in samples]
        assert np.mean([low <= 0 <= high for low, high in medians]) > 0.91
