"""Calibration of `fobench compare` by simulation: false-alarm rate, coverage of intervals, and power.

Run: python reports/tools/calibration.py (four minutes on one core; --runs 100 for a preview). It writes README.md and
results.json into reports/calibration, with the same bytes in every run.

Items are drawn from the committed baseline's answered questions: their numbers of words, ASR error rates and response
latencies. Independent noise is then added to both runs of a comparison. Every comparison uses
`fobench.comparison.compare`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from fobench.comparison import Comparison, compare
from fobench.comparison.gates import Gate
from fobench.comparison.snapshot import ScoreColumn, Snapshot, SnapshotItem
from fobench.formatting import DASH
from fobench.statistics.bootstrap import Floats
from fobench.statistics.proportions import wilson

REPORTS = Path(__file__).parents[1]
BASELINE = REPORTS / "spoken-qa-cascade-smollm2-135m"
RUNS = 1_000
RESAMPLES = 1_000  # per simulated comparison; the default of fobench is 10,000
ALPHA = 0.05
GATES = ("accuracy_s2s:3pp", "parity_s2s:5pp", "understanding_wer:2pp", "response_ms.p50:10%", "response_ms.p90:10%")
METRICS = tuple(gate.partition(":")[0] for gate in GATES)
BOOTSTRAP = "bootstrap"  # the paired bootstrap interval of the first metric
REPEAT_PROBABILITY = 0.95  # with noise, that a question keeps its baseline outcome: 9.5 % discordant pairs
JITTER = 0.1  # standard deviation of the logarithm of one latency
LATE_SHARE, LATE_FACTOR = 0.02, 1.5  # share of delayed replies, and the factor on their latency

TOLERANCE = 1e-9  # rounding differences of sums in another order

Draw = np.random.Generator


@dataclass(frozen=True)
class Population:
    """The baseline's answered questions, arrays [n]: words, ASR error rate, latency, correct text-in, correct speech-in."""

    words: Floats
    error_rate: Floats
    response_ms: Floats
    correct_text: Floats
    correct_speech: Floats

    @classmethod
    def load(cls) -> Population:
        run = Snapshot.of_run(BASELINE)
        columns = [run.columns[name] for name in ("understanding_wer", "response_ms", "accuracy_t2t", "accuracy_s2s")]
        known = reduce(np.intersect1d, [column.items for column in columns])  # an unanswered one has no latency
        rows = [np.searchsorted(column.items, known) for column in columns]
        errors, response_ms, *correct = (column.numerators[row] for column, row in zip(columns, rows, strict=True))
        words = columns[0].denominators[rows[0]]
        return cls(words, np.minimum(0.9, (errors + 0.05) / (words + 1)), response_ms, *correct)


@dataclass(frozen=True)
class Case:
    """How two runs differ.

    `noise`: both runs have independent noise. `speakers`: number of speakers, 0 for one per item.
    """

    n: int
    noise: bool = True
    accuracy_loss: float = 0.0  # share of all questions that are no longer correct
    wer_increase: float = 0.0
    slowdown: float = 0.0  # relative increase of all latencies
    speakers: int = 0


@dataclass
class Tally:
    """Counts of outcomes in `runs` comparisons of one case, partly by metric."""

    runs: int = 0
    any_significant: int = 0
    any_regression: int = 0
    any_inconclusive: int = 0
    alone: dict[str, int] = field(default_factory=dict)
    family: dict[str, int] = field(default_factory=dict)
    regression: dict[str, int] = field(default_factory=dict)
    covered: dict[str, int] = field(default_factory=dict)
    intervals: dict[str, int] = field(default_factory=dict)  # changes with an interval: equal changes have none

    def add(self, comparison: Comparison, truth: dict[str, float]) -> None:
        self.runs += 1
        self.any_significant += any(ruling.p_holm < ALPHA for ruling in comparison.verdicts)
        self.any_regression += comparison.exit_code == 1
        self.any_inconclusive += comparison.exit_code == 3
        for ruling in comparison.verdicts:
            figure, relative = ruling.gate.figure, ruling.gate.relative
            low, high = ruling.change.ci(relative) or (np.nan, np.nan)
            if figure == METRICS[0]:
                plain = ruling.change.bootstrap_ci() or (np.nan, np.nan)
                self.covered[BOOTSTRAP] = self.covered.get(BOOTSTRAP, 0) + (plain[0] <= truth[figure] <= plain[1])
                self.intervals[BOOTSTRAP] = self.intervals.get(BOOTSTRAP, 0) + bool(np.isfinite(plain[0]))
            for counts, hit in (
                (self.alone, ruling.p < ALPHA),
                (self.family, ruling.p_holm < ALPHA),
                (self.regression, ruling.verdict == "regression"),
                (self.covered, low - TOLERANCE <= truth[figure] <= high + TOLERANCE),
                (self.intervals, np.isfinite(low)),
            ):
                counts[figure] = counts.get(figure, 0) + bool(hit)


def simulate(case: Case, population: Population, runs: int, seed: int) -> Tally:
    """Returns the counts of `runs` simulated comparisons of two runs that differ as the case describes."""
    tally, gates = Tally(), [Gate.parse(text) for text in GATES]
    text_probability, speech_probability = (
        _probability(correct, case.noise) for correct in (population.correct_text, population.correct_speech)
    )
    truth = dict.fromkeys(METRICS, 0.0) | {
        "accuracy_s2s": -case.accuracy_loss,
        "parity_s2s": -case.accuracy_loss / text_probability.mean(),
        "understanding_wer": case.wer_increase,
        "response_ms.p50": case.slowdown,
        "response_ms.p90": case.slowdown,
    }
    draw = np.random.default_rng(seed)
    for _ in range(runs):
        base, new = _runs(case, population, draw, text_probability, speech_probability)
        tally.add(compare(base, new, gates, resamples=RESAMPLES), truth)
    return tally


def _probability(correct: Floats, noise: bool) -> Floats:
    """Returns the probability of a correct answer per question."""
    return np.where(correct == 1, REPEAT_PROBABILITY, 1 - REPEAT_PROBABILITY) if noise else correct


def _runs(case: Case, population: Population, draw: Draw, text: Floats, speech: Floats) -> tuple[Snapshot, Snapshot]:
    """Returns two simulated runs on one sample of items; `text`, `speech`: probabilities of a correct answer."""
    chosen = draw.integers(0, len(population.words), case.n)
    speakers = np.arange(case.n) % case.speakers if case.speakers else np.arange(case.n)
    accents = draw.gamma(2.0, 0.5, case.n)[speakers] if case.speakers else np.ones(case.n)
    wer_increase = draw.gamma(2.0, 0.5, case.n)[speakers] * case.wer_increase if case.speakers else case.wer_increase
    words, error_rate = population.words[chosen], np.minimum(0.95, population.error_rate[chosen] * accents)
    text_draw, speech_draw = draw.random(case.n), draw.random(case.n)
    errors = draw.binomial(words.astype(int), error_rate)
    latency = population.response_ms[chosen] * _jitter(draw, case.n)
    first = _snapshot("base", speakers, text_draw < text[chosen], speech_draw < speech[chosen], errors, words, latency)
    if case.noise:
        text_draw, speech_draw = draw.random(case.n), draw.random(case.n)
        errors = draw.binomial(words.astype(int), error_rate)
        latency = population.response_ms[chosen] * _jitter(draw, case.n)
    kept = draw.random(case.n) >= case.accuracy_loss / speech.mean()
    errors = errors + draw.binomial(words.astype(int), np.minimum(1.0, wer_increase))
    latency = latency * (1 + case.slowdown)
    second = _snapshot(
        "new", speakers, text_draw < text[chosen], (speech_draw < speech[chosen]) & kept, errors, words, latency
    )
    return first, second


def _jitter(draw: Draw, n: int) -> Floats:
    return np.asarray(draw.lognormal(0, JITTER, n) * np.where(draw.random(n) < LATE_SHARE, LATE_FACTOR, 1.0))


def _snapshot(
    name: str, speakers: Any, text: Any, speech: Any, errors: Any, words: Floats, response_ms: Floats
) -> Snapshot:
    rows, ones = np.arange(len(words)), np.ones(len(words))
    correct_text, correct_speech = text.astype(float), speech.astype(float)
    columns = {
        "accuracy_s2s": ScoreColumn(1, "share", "higher", False, rows, correct_speech, ones),
        "parity_s2s": ScoreColumn(1, "ratio", "higher", False, rows, correct_speech, correct_text),
        "understanding_wer": ScoreColumn(1, "ratio", "lower", False, rows, errors.astype(float), words),
        "response_ms": ScoreColumn(1, "ms", "lower", True, rows, response_ms, ones),
    }
    return Snapshot(name, {}, tuple(SnapshotItem(f"q-{i}", f"s-{s}") for i, s in enumerate(speakers)), columns)


EQUAL = {f"A/A, n = {n:,}": Case(n) for n in (60, 240, 1_000)}
BY_SPEAKER = {f"A/A, n = 240, {k} speakers": Case(240, speakers=k) for k in (12, 40)}
PLANTED = {"noisy": Case(240, True, 0.03, 0.02, 0.1), "quiet": Case(240, False, 0.03, 0.02, 0.1)}
PLANTED_BY_SPEAKER = {"noisy, 40 speakers": replace(PLANTED["noisy"], speakers=40)}


def share(hits: int, runs: int) -> str:
    """Returns a share with its Wilson interval, e.g. "4.1 % (3.0-5.5)"; a dash if there are no runs."""
    if not runs:
        return DASH
    low, high = wilson(hits, runs) or (0.0, 0.0)
    return f"{100 * hits / runs:.1f} % ({100 * low:.1f}-{100 * high:.1f})"


def report(tallies: dict[str, Tally]) -> Iterator[str]:
    """Yields the lines of README.md."""
    yield from HEAD.format(
        runs=next(iter(tallies.values())).runs, resamples=RESAMPLES, gates=", ".join(f"`{g}`" for g in GATES)
    ).split("\n")
    equal = {name: tally for name, tally in tallies.items() if name in {**EQUAL, **BY_SPEAKER}}
    yield from ("## False alarms", "", LEVEL, "")
    rows: list[tuple[str, Callable[[Tally], int]]] = [
        ("any of the five tests significant (Holm)", lambda t: t.any_significant),
        ("any gate reports a regression (exit code 1)", lambda t: t.any_regression),
        ("otherwise, any gate is inconclusive (exit code 3)", lambda t: t.any_inconclusive),
    ]
    yield from _table(equal, rows)
    yield from ("", "Each single test, uncorrected, at 5 %:", "")
    yield from _table(equal, [(figure, lambda t, f=figure: t.alone[f]) for figure in METRICS])
    yield from ("", "## Intervals", "", COVER, "")
    names = {METRICS[0]: f"{METRICS[0]}, Bonett and Price", BOOTSTRAP: f"{METRICS[0]}, paired bootstrap"}
    order = (METRICS[0], BOOTSTRAP, *METRICS[1:])
    covered = [(names.get(f, f), lambda t, f=f: t.covered[f], lambda t, f=f: t.intervals[f]) for f in order]
    yield from _table(tallies, covered)
    yield from ("", "## Power at n = 240", "", POWER, "")
    planted = {name: tally for name, tally in tallies.items() if name in {**PLANTED, **PLANTED_BY_SPEAKER}}
    effects = {"accuracy_s2s": "accuracy 3 pp lower", "understanding_wer": "WER 2 pp higher"}
    effects |= {"response_ms.p50": "10 % slower, p50", "response_ms.p90": "10 % slower, p90"}
    yield from _table(
        planted, [(f"{effect}, single test", lambda t, f=figure: t.alone[f]) for figure, effect in effects.items()]
    )
    yield from ("", "The same tests in the family of five gates (Holm):", "")
    yield from _table(planted, [(effect, lambda t, f=figure: t.family[f]) for figure, effect in effects.items()])


def _table(tallies: dict[str, Tally], rows: Sequence[tuple[Any, ...]]) -> Iterator[str]:
    """`rows`: (label, count), with a third part (label, count, of how many) where these are not the runs."""
    yield "| | " + " | ".join(tallies) + " |"
    yield "| :-- |" + " --: |" * len(tallies)
    for label, count, *of in rows:
        shares = (share(count(tally), of[0](tally) if of else tally.runs) for tally in tallies.values())
        yield f"| {label} | " + " | ".join(shares) + " |"


HEAD = """# Calibration of `fobench compare`

{runs:,} simulated comparisons per column, each with {resamples:,} resamples. The script
`reports/tools/calibration.py` defines the model. Items are drawn from the questions of the committed baseline.
*Noisy*: a tenth of the questions is answered correctly in only one of two equal runs, ASR errors are random, and
latencies vary by 10 %. *Quiet*: the runs differ only by the planted effect, as with greedy decoding and a replayed
latency profile. In parentheses: 95 % intervals of the simulated shares.

The gates: {gates}.
"""
LEVEL = """Two equal noisy systems. The nominal level is 5 % for the family of five tests. A gate also requires an effect
beyond its limit: it rejects an equal system less often, and almost never with many items. The limits are narrow for
this amount of noise: with 60 and with 240 items some gate is mostly inconclusive, and reports how many items would
suffice."""
COVER = """How often the 95 % interval of a change contains the true change: of the difference of accuracy, parity and WER, and
of the ratio of latencies. *Noisy* and *quiet* columns have a true change; in "speakers" columns the WER depends on
the speaker, and resampling is by speaker. Binary outcomes use the interval of Bonett and Price; the paired
bootstrap below it is slightly too narrow if few items change. Quiet latencies differ by exactly the planted effect,
so that they have no interval."""
POWER = """How often a one-sided test at 5 % detects the planted effect."""


def main() -> None:
    """Simulates all cases and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--out", type=Path, default=REPORTS / "calibration")
    options = parser.parse_args()
    population, tallies = Population.load(), {}
    for seed, (name, case) in enumerate({**EQUAL, **BY_SPEAKER, **PLANTED, **PLANTED_BY_SPEAKER}.items()):
        tallies[name] = simulate(case, population, options.runs, seed)
        print(name, tallies[name], flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "README.md").write_text("\n".join(report(tallies)) + "\n")
    data = {name: vars(tally) for name, tally in tallies.items()}
    (options.out / "results.json").write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
