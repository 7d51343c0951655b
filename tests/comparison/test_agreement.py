"""Comparisons against independent implementations, on 1,000 random cases: statsmodels, scipy, and a textbook's edit distance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats
from scipy.stats.mstats import hdquantiles

from fobench.statistics import proportions
from fobench.statistics.bootstrap import widen_tail
from fobench.statistics.metric_resampling import interval, narrow_tail, quantile, quantiles, resample, sums
from fobench_plugins.metrics.wer import align, errors

CASES = 1_000
WORDS = ("the", "a", "cat", "sat", "on", "mat", "no")


@pytest.fixture
def draw():
    return np.random.default_rng(7)


def test_mcnemar_is_scipys_binomial_test(draw):
    for lost, gained in draw.integers(0, 40, (CASES, 2)):
        binomial = [
            scipy_stats.binomtest(int(lost), int(lost + gained), alternative=side).pvalue if lost + gained else 1
            for side in ("two-sided", "greater")
        ]
        assert [proportions.mcnemar(lost, gained), proportions.sign_test(lost, gained)] == pytest.approx(binomial)


@pytest.mark.slow  # statsmodels takes its time, also to be imported
def test_mcnemar_and_holm_are_statsmodels(draw):
    from statsmodels.stats.contingency_tables import mcnemar
    from statsmodels.stats.multitest import multipletests

    for lost, gained in draw.integers(0, 40, (CASES, 2)):
        table = [[3, lost], [gained, 5]]
        assert proportions.mcnemar(lost, gained) == pytest.approx(mcnemar(table, exact=True).pvalue)
    for _ in range(CASES // 50):
        p_values = draw.random(draw.integers(1, 12)) ** 3
        assert proportions.holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_percentiles_are_scipys(draw):
    """Harrell and Davis's, of the values and of resamples of them."""
    for _ in range(CASES):
        values, share = draw.lognormal(0, 1, draw.integers(5, 60)), draw.uniform(0.05, 0.95)
        assert quantile(values, share) == pytest.approx(hdquantiles(values, [share])[0])
    counts = draw.multinomial(30, np.full(30, 1 / 30), 200).astype(np.uint8)
    values = draw.lognormal(0, 1, 30)
    resampled = quantiles(values, np.arange(30), (0.5, 0.9))(counts)
    expected = [hdquantiles(np.repeat(values, row), [0.5, 0.9]) for row in counts]
    assert resampled == pytest.approx(np.array(expected))


def test_percentiles_of_resamples_that_hold_unequally_many_values(draw):
    """Half of the items have two values each: a resample holds as many as its items have."""
    items = np.concatenate([np.arange(40), np.arange(20)])
    values, counts = draw.lognormal(0, 1, 60), draw.multinomial(40, np.full(40, 1 / 40), 100).astype(np.uint8)
    resampled = quantiles(values, items, (0.5,))(counts)
    share = (60 + 1) * 0.5
    for row, found in zip(counts[:, items], resampled[:, 0], strict=True):
        held = np.sort(np.repeat(values, row))
        weights = np.diff(scipy_stats.beta.cdf(np.arange(len(held) + 1) / len(held), share, share))
        assert found == pytest.approx(float(weights @ held), rel=1e-3)


def test_bootstrap_intervals_are_scipys(draw):
    """Of a paired difference of means: the same percentile interval, up to the chance in 1,000 resamples of each."""
    apart = []
    for case in range(CASES):
        n = int(draw.integers(20, 60))
        first, second = draw.normal(0, 1, n), draw.normal(0.3, 1, n)
        means = resample([sums(np.stack([first, second], axis=1) / n)], n, case, 1_000)[0]
        low, high = np.percentile(means[:, 1] - means[:, 0], [2.5, 97.5])
        theirs = scipy_stats.bootstrap(
            (first, second),
            lambda a, b, axis: np.mean(b, axis=axis) - np.mean(a, axis=axis),
            paired=True,
            n_resamples=1_000,
            method="percentile",
            rng=np.random.default_rng(case),
        ).confidence_interval
        width = theirs.high - theirs.low
        apart.append([(low - theirs.low) / width, (high - theirs.high) / width])
    assert np.abs(np.mean(apart, axis=0)).max() < 0.005  # of the width, on average
    assert np.abs(apart).max() < 0.2  # in any case


def test_the_interval_for_few_blocks_is_students(draw):
    """Of a mean of normal values the widen_tail bootstrap is Student's interval, which the plain one is not."""
    values = draw.normal(0, 1, 12)
    means = resample([sums(values[:, None] / 12)], 12, 0, 20_000)[0][:, 0]
    low, high = interval(means, 12)
    student = scipy_stats.t.interval(0.95, 11, values.mean(), values.std(ddof=1) / np.sqrt(12))
    assert (low, high) == pytest.approx(student, abs=0.06)
    assert high - low > 1.15 * np.subtract(*np.percentile(means, [97.5, 2.5]))


@pytest.mark.parametrize("blocks", [5, 10, 240])
def test_a_p_is_the_inverse_of_an_interval(blocks):
    for tail in (0.001, 0.025, 0.3, 0.5, 0.9):
        assert narrow_tail(widen_tail(tail, blocks), blocks) == pytest.approx(tail)


def test_paired_shares_are_bonett_and_prices():
    """Their example (2012, table 3): 59 and 6 of 160 discordant pairs, difference -0.33 (-0.42 to -0.23)."""
    low, high = proportions.paired_shares(59, 6, 160)
    by_hand = (7 - 60) / 162
    assert low < by_hand < high
    assert high - low == pytest.approx(2 * 1.959964 * np.sqrt((67 / 162 - by_hand**2) / 162))


def test_alignments_have_the_textbooks_edit_distance(draw):
    for _ in range(CASES):
        reference, heard = (" ".join(draw.choice(WORDS, draw.integers(low, 12))) for low in (1, 0))
        counts = align(reference, heard)
        assert errors(counts) == edit_distance(reference.split(), heard.split())
        assert counts["ref_words"] == len(reference.split())
        assert len(heard.split()) == counts["ref_words"] - counts["deletions"] + counts["insertions"]


def edit_distance(reference: list[str], heard: list[str]) -> int:
    """Wagner and Fischer (1974)."""
    row = list(range(len(heard) + 1))
    for i, expected in enumerate(reference, 1):
        before, row[0] = row[0], i
        for j, found in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (expected != found))
    return row[-1]
