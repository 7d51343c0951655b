"""Metric deltas: the change of one metric between two runs, over the items with a value in both."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from fobench.comparison.paired_scores import PairedScores
from fobench.comparison.snapshot import Snapshot
from fobench.statistics import proportions
from fobench.statistics.bootstrap import P90_MIN_N, P99_MIN_N, RESAMPLES, SEED, Floats, Interval
from fobench.statistics.metric_resampling import Statistic, interval, p_above, quantile, quantiles, resample, sums

SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
MIN_PAIRS_SHOWN = {"p90": P90_MIN_N, "p99": P99_MIN_N}  # least number of pairs to show a percentile
MIN_PAIRS_BY_PERCENTILE = {
    "p50": 10,
    "p90": 30,
    "p99": 300,
}  # for a conclusion: about three pairs beyond the percentile
MIN_PAIRS = 10  # for a conclusion on any other metric


@dataclass(frozen=True, slots=True)
class MetricDelta:
    """The metric `figure`, e.g. `understanding_wer` or `response_ms.p90`, in two runs.

    `n` pairs in `blocks` blocks, of which `changed` differ; `size`: the denominator (words of a WER, correct text answers of a
    parity, else the pairs). `resampled` [resamples, 2]: the values of both runs over each resample. For binary items,
    `lost` counts those with 1 in the base and 0 in the new run, `gained` the reverse; None for other metrics.
    """

    figure: str
    unit: str
    better: str
    base: float
    new: float
    n: int
    blocks: int
    blocked_by: str
    changed: int
    size: float
    resampled: Floats
    lost: int | None = None
    gained: int | None = None

    @property
    def metric(self) -> str:
        return self.figure.partition(".")[0]

    @property
    def percentile(self) -> str:
        """p50, p90 or p99 of a distribution; empty for a ratio of sums."""
        return self.figure.partition(".")[2]

    @property
    def shown(self) -> bool:
        """Whether there are enough pairs to show the delta; its gates are always shown."""
        return self.n >= MIN_PAIRS_SHOWN.get(self.percentile, 1)

    @property
    def test(self) -> Literal["mcnemar", "bootstrap"]:
        return "bootstrap" if self.lost is None else "mcnemar"

    @property
    def min_pairs(self) -> int:
        """The least number of pairs for a conclusion."""
        return MIN_PAIRS_BY_PERCENTILE.get(self.percentile, MIN_PAIRS)

    def effect(self, relative: bool = False) -> float:
        """new - base, or if `relative` new / base - 1 (for a base of 0: infinite, or 0 if new is 0, too)."""
        if not relative:
            return self.new - self.base
        if self.base:
            return self.new / self.base - 1
        return math.copysign(math.inf, self.new) if self.new else 0.0

    def effects(self, relative: bool = False) -> Floats:
        """The effects [resamples] over the resamples; NaN if undefined."""
        base, new = self.resampled.T
        if not relative:
            return np.asarray(new - base)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(base != 0, new / base - 1, np.nan))

    def ci(self, relative: bool = False, confidence: float = 0.95) -> Interval | None:
        """The effect's interval: Bonett and Price (2012) for binary items, else the bootstrap's."""
        if self.lost is None or self.gained is None:
            return self.bootstrap_ci(relative, confidence)
        scale = abs(self.base) if relative else 1.0
        low, high = proportions.paired_shares(self.lost, self.gained, self.n, confidence)
        return (low / scale, high / scale) if scale else None

    def bootstrap_ci(self, relative: bool = False, confidence: float = 0.95) -> Interval | None:
        return interval(self.effects(relative), self.blocks, confidence)

    def error(self, relative: bool = False) -> float:
        """The effect's standard error; NaN if undefined."""
        if self.lost is not None and self.gained is not None:
            discordant, difference = (self.lost + self.gained) / self.n, (self.gained - self.lost) / self.n
            scale = abs(self.base) if relative else 1.0
            return math.sqrt((discordant - difference**2) / self.n) / scale if scale else math.nan
        effects = self.effects(relative)
        effects = effects[np.isfinite(effects)]
        return float(effects.std()) if len(effects) else math.nan

    @property
    def p_rise(self) -> float:
        """One-sided p of an increase: exact McNemar test for binary items, else the bootstrap."""
        if self.lost is None or self.gained is None:
            return p_above(self.effects(), self.blocks)
        return proportions.sign_test(self.gained, self.lost)

    @property
    def p_fall(self) -> float:
        """One-sided p of a decrease."""
        if self.lost is None or self.gained is None:
            return p_above(-self.effects(), self.blocks)
        return proportions.sign_test(self.lost, self.gained)

    @property
    def p(self) -> float:
        """Two-sided p of a change."""
        return min(1.0, 2 * min(self.p_rise, self.p_fall))

    def to_json(self) -> dict[str, Any]:
        plain = ("figure", "unit", "better", "base", "new", "n", "blocks", "blocked_by", "changed", "lost", "gained")
        found = {name: getattr(self, name) for name in (*plain, "test", "p", "p_rise", "p_fall")}
        for name, relative in (("difference", False), ("relative", True)):
            found |= {name: self.effect(relative), f"{name}_ci": self.ci(relative)}
        return {**found, "bootstrap_ci": self.bootstrap_ci()}


def metric_units(run: Snapshot) -> dict[str, tuple[str, str]]:
    """{name: (unit, better)} of all metrics of a run, with the percentiles of distributions."""
    named = {m: [f"{m}.{share}" for share in SHARES] if c.is_distribution else [m] for m, c in run.columns.items()}
    return {name: (run.columns[m].unit, run.columns[m].better) for m, names in named.items() for name in names}


def metric_deltas(
    pairs: Sequence[PairedScores], items: int, seed: int = SEED, resamples: int = RESAMPLES
) -> list[MetricDelta]:
    """The deltas of all paired metrics; `items`: the number of common items."""
    drawn = _resample(pairs, items, seed, resamples)
    return [delta for each in pairs for delta in _deltas(each, drawn[each.metric], items)]


def _resample(found: Sequence[PairedScores], items: int, seed: int, resamples: int) -> dict[str, Floats]:
    """{metric: sums of `PairedScores.table` [resamples, 4], or percentiles of base and new run [resamples, 2 k]}.

    All metrics resampled by item share one set of draws: for 10,000 items, drawing takes longer than summing.
    """
    grouped, single = ([p for p in found if p.grouped is by_group] for by_group in (True, False))
    drawn = {p.metric: resample([sums(p.by_block(items))], p.blocks.count, seed, resamples)[0] for p in grouped}
    ratios, distributions = (
        [p for p in single if p.is_distribution is is_distribution] for is_distribution in (False, True)
    )
    statistics = [_percentiles(pairs) for pairs in distributions]
    if ratios:
        statistics.append(sums(np.concatenate([pairs.table(items) for pairs in ratios], axis=1)))
    shared = resample(statistics, items, seed, resamples)
    if ratios:
        parts = np.split(shared.pop(), len(ratios), axis=1)
        drawn |= {pairs.metric: part for pairs, part in zip(ratios, parts, strict=True)}
    return drawn | {pairs.metric: part for pairs, part in zip(distributions, shared, strict=True)}


def _percentiles(pairs: PairedScores) -> Statistic:
    shares = list(SHARES.values())
    both = [quantiles(column.numerators, column.items, shares) for column in (pairs.base, pairs.new)]
    return lambda drawn: np.concatenate([statistic(drawn) for statistic in both], axis=1)


def _deltas(pairs: PairedScores, drawn: Floats, items: int) -> Iterator[MetricDelta]:
    delta = partial(
        MetricDelta,
        unit=pairs.new.unit,
        better=pairs.new.better,
        n=pairs.n,
        blocks=pairs.blocks.count,
        blocked_by=pairs.blocks.unit,
        changed=pairs.changed(items),
    )
    if pairs.is_distribution:
        for i, (name, share) in enumerate(SHARES.items()):
            base, new = (quantile(column.numerators, share) for column in (pairs.base, pairs.new))
            both = drawn[:, [i, i + drawn.shape[1] // 2]]
            yield delta(f"{pairs.metric}.{name}", base=base, new=new, size=pairs.n, resampled=both)
        return
    base, new = (_ratio(column.numerators.sum(), column.denominators.sum()) for column in (pairs.base, pairs.new))
    with np.errstate(divide="ignore", invalid="ignore"):
        both = drawn[:, [0, 2]] / drawn[:, [1, 3]]
    if not pairs.changed(items):
        both[:, 1] = both[:, 0]  # equal sums, summed in another order
    lost, gained = pairs.discordant(items) if pairs.binary else (None, None)
    size = float(pairs.new.denominators.sum())
    yield delta(pairs.metric, base=base, new=new, size=size, resampled=both, lost=lost, gained=gained)


def _ratio(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom else math.nan
