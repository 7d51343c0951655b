"""Does `fobench compare` keep its level, cover with its intervals, and find what it should? By simulation.

Run: python reports/tools/calibration.py (four minutes on one core; --runs 100 for a look). It writes README.md and
results.json beside this file, the same to the byte.

Items are drawn from the committed baseline's 240 questions: their lengths, how often they are misheard, how late their
replies come. Both runs of a comparison then get noise of their own. Every comparison goes through `fobench.comparison.compare`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fobench.comparison import Comparison, compare
from fobench.comparison.gates import Gate
from fobench.comparison.snapshot import ScoreColumn, Snapshot, SnapshotItem
from fobench.statistics.bootstrap import Floats
from fobench.statistics.proportions import wilson

HERE = Path(__file__).parent
BASELINE = HERE.parent / "spoken-qa-cascade-smollm2-135m"
RUNS = 1_000
RESAMPLES = 1_000  # of each simulated comparison; a real one makes 10,000
ALPHA = 0.05
GATES = ("accuracy_s2s:3pp", "parity_s2s:5pp", "understanding_wer:2pp", "response_ms.p50:10%", "response_ms.p90:10%")
FIGURES = tuple(gate.partition(":")[0] for gate in GATES)
BOOTSTRAP = "bootstrap"  # the paired bootstrap's interval of the first figure
CERTAIN = (
    0.95  # with noise, the chance that a question right (or wrong) in the baseline is so again: 9.5 % discordant pairs
)
JITTER = 0.1  # standard deviation of the logarithm of one latency
HICCUPS, HICCUP = 0.02, 1.5  # share of replies that come late, and by what factor

TINY = 1e-9  # what adding up in another order may differ by

Draw = np.random.Generator


@dataclass(frozen=True)
class Population:
    """The baseline's questions, [240]: words, share misheard, latency, right by text, right by voice."""

    words: Floats
    misheard: Floats
    response_ms: Floats
    right_text: Floats
    right_voice: Floats

    @classmethod
    def load(cls) -> Population:
        run = Snapshot.of_run(BASELINE)
        wer, late = run.columns["understanding_wer"], run.columns["response_ms"]
        misheard = np.minimum(0.9, (wer.tops + 0.05) / (wer.bottoms + 1))
        right = [run.columns[f"accuracy_{route}"].tops for route in ("t2t", "s2s")]
        return cls(wer.bottoms, misheard, late.tops, *right)


@dataclass(frozen=True)
class Case:
    """How two runs differ. `noise`: both have their own, else only what is planted differs. `speakers`: how many read, 0: each item its own."""

    n: int
    noise: bool = True
    lost: float = 0.0  # share of all questions that is no longer right
    misheard: float = 0.0  # added to the WER
    slower: float = 0.0  # added to all latencies, as a share
    speakers: int = 0


@dataclass
class Tally:
    """Of one case: how often what happened, in `runs` comparisons."""

    runs: int = 0
    any_significant: int = 0
    any_regression: int = 0
    any_inconclusive: int = 0
    alone: dict[str, int] = field(default_factory=dict)
    family: dict[str, int] = field(default_factory=dict)
    regression: dict[str, int] = field(default_factory=dict)
    covered: dict[str, int] = field(default_factory=dict)

    def add(self, found: Comparison, truth: dict[str, float]) -> None:
        self.runs += 1
        self.any_significant += any(ruling.p_holm < ALPHA for ruling in found.rulings)
        self.any_regression += found.exit_code == 1
        self.any_inconclusive += found.exit_code == 3
        for ruling in found.rulings:
            figure, relative = ruling.gate.figure, ruling.gate.relative
            low, high = ruling.change.ci(relative) or (np.nan, np.nan)
            if figure == FIGURES[0]:
                plain = ruling.change.bootstrap_ci() or (np.nan, np.nan)
                self.covered[BOOTSTRAP] = self.covered.get(BOOTSTRAP, 0) + (plain[0] <= truth[figure] <= plain[1])
            for counts, hit in (
                (self.alone, ruling.p < ALPHA),
                (self.family, ruling.p_holm < ALPHA),
                (self.regression, ruling.verdict == "regression"),
                (self.covered, low - TINY <= truth[figure] <= high + TINY),
            ):
                counts[figure] = counts.get(figure, 0) + bool(hit)


def simulate(case: Case, people: Population, runs: int, seed: int) -> Tally:
    """`runs` comparisons of a run with another that differs from it as the case says."""
    tally, gates = Tally(), [Gate.parse(text) for text in GATES]
    chance_text, chance_voice = (_chance(right, case.noise) for right in (people.right_text, people.right_voice))
    truth = dict.fromkeys(FIGURES, 0.0) | {
        "accuracy_s2s": -case.lost,
        "parity_s2s": -case.lost / chance_text.mean(),
        "understanding_wer": case.misheard,
        "response_ms.p50": case.slower,
        "response_ms.p90": case.slower,
    }
    draw = np.random.default_rng(seed)
    for _ in range(runs):
        base, new = _runs(case, people, draw, chance_text, chance_voice)
        tally.add(compare(base, new, gates, resamples=RESAMPLES), truth)
    return tally


def _chance(right: Floats, noise: bool) -> Floats:
    return np.where(right == 1, CERTAIN, 1 - CERTAIN) if noise else right


def _runs(case: Case, people: Population, draw: Draw, text: Floats, voice: Floats) -> tuple[Snapshot, Snapshot]:
    """One sample of items, run twice."""
    chosen = draw.integers(0, len(people.words), case.n)
    speakers = np.arange(case.n) % case.speakers if case.speakers else np.arange(case.n)
    accents = draw.gamma(2.0, 0.5, case.n)[speakers] if case.speakers else np.ones(case.n)
    harder = draw.gamma(2.0, 0.5, case.n)[speakers] * case.misheard if case.speakers else case.misheard
    words, misheard = people.words[chosen], np.minimum(0.95, people.misheard[chosen] * accents)
    right, spoken = draw.random(case.n), draw.random(case.n)
    errors = draw.binomial(words.astype(int), misheard)
    late = people.response_ms[chosen] * _jitter(draw, case.n)
    first = _snapshot("base", speakers, right < text[chosen], spoken < voice[chosen], errors, words, late)
    if case.noise:
        right, spoken = draw.random(case.n), draw.random(case.n)
        errors = draw.binomial(words.astype(int), misheard)
        late = people.response_ms[chosen] * _jitter(draw, case.n)
    kept = draw.random(case.n) >= case.lost / voice.mean()
    errors = errors + draw.binomial(words.astype(int), np.minimum(1.0, harder))
    late = late * (1 + case.slower)
    second = _snapshot("new", speakers, right < text[chosen], (spoken < voice[chosen]) & kept, errors, words, late)
    return first, second


def _jitter(draw: Draw, n: int) -> Floats:
    return np.asarray(draw.lognormal(0, JITTER, n) * np.where(draw.random(n) < HICCUPS, HICCUP, 1.0))


def _snapshot(
    name: str, speakers: Any, text: Any, voice: Any, errors: Any, words: Floats, response_ms: Floats
) -> Snapshot:
    rows, ones = np.arange(len(words)), np.ones(len(words))
    right_text, right_voice = text.astype(float), voice.astype(float)
    columns = {
        "accuracy_s2s": ScoreColumn(1, "share", "higher", False, rows, right_voice, ones),
        "parity_s2s": ScoreColumn(1, "ratio", "higher", False, rows, right_voice, right_text),
        "understanding_wer": ScoreColumn(1, "ratio", "lower", False, rows, errors.astype(float), words),
        "response_ms": ScoreColumn(1, "ms", "lower", True, rows, response_ms, ones),
    }
    return Snapshot(name, {}, tuple(SnapshotItem(f"q-{i}", f"s-{s}") for i, s in enumerate(speakers)), columns)


ALIKE = {f"A/A, n = {n:,}": Case(n) for n in (60, 240, 1_000)}
SPOKEN = {f"A/A, n = 240, {k} speakers": Case(240, speakers=k) for k in (12, 40)}
PLANTED = {"noisy": Case(240, True, 0.03, 0.02, 0.1), "quiet": Case(240, False, 0.03, 0.02, 0.1)}
PLANTED_SPOKEN = {"noisy, 40 speakers": replace(PLANTED["noisy"], speakers=40)}


def share(hits: int, runs: int) -> str:
    """E.g. "4.1 % (3.0-5.5)": the Wilson interval of a simulated share."""
    low, high = wilson(hits, runs) or (0.0, 0.0)
    return f"{100 * hits / runs:.1f} % ({100 * low:.1f}-{100 * high:.1f})"


def report(found: dict[str, Tally]) -> Iterator[str]:
    """The lines of README.md."""
    yield from HEAD.format(
        runs=next(iter(found.values())).runs, resamples=RESAMPLES, gates=", ".join(f"`{g}`" for g in GATES)
    ).split("\n")
    alike = {name: tally for name, tally in found.items() if name in {**ALIKE, **SPOKEN}}
    yield from ("## False alarms", "", LEVEL, "")
    rows: list[tuple[str, Callable[[Tally], int]]] = [
        ("any of the five tests significant (Holm)", lambda t: t.any_significant),
        ("any gate tells a regression (exit code 1)", lambda t: t.any_regression),
        ("else any gate is inconclusive (exit code 3)", lambda t: t.any_inconclusive),
    ]
    yield from _table(alike, rows)
    yield from ("", "Each test by itself, uncorrected, at 5 %:", "")
    yield from _table(alike, [(figure, lambda t, f=figure: t.alone[f]) for figure in FIGURES])
    yield from ("", "## Intervals", "", COVER, "")
    names = {FIGURES[0]: f"{FIGURES[0]}, Bonett and Price", BOOTSTRAP: f"{FIGURES[0]}, paired bootstrap"}
    order = (FIGURES[0], BOOTSTRAP, *FIGURES[1:])
    yield from _table(found, [(names.get(figure, figure), lambda t, f=figure: t.covered[f]) for figure in order])
    yield from ("", "## Power at n = 240", "", POWER, "")
    planted = {name: tally for name, tally in found.items() if name in {**PLANTED, **PLANTED_SPOKEN}}
    effects = {"accuracy_s2s": "3 points of accuracy lost", "understanding_wer": "2 points of WER gained"}
    effects |= {"response_ms.p50": "10 % slower, p50", "response_ms.p90": "10 % slower, p90"}
    yield from _table(planted, [(f"{told}, alone", lambda t, f=figure: t.alone[f]) for figure, told in effects.items()])
    yield from ("", "The same in a family of five gates (Holm):", "")
    yield from _table(planted, [(told, lambda t, f=figure: t.family[f]) for figure, told in effects.items()])


def _table(tallies: dict[str, Tally], rows: list[tuple[str, Any]]) -> Iterator[str]:
    yield "| | " + " | ".join(tallies) + " |"
    yield "| :-- |" + " --: |" * len(tallies)
    for label, count in rows:
        yield f"| {label} | " + " | ".join(share(count(tally), tally.runs) for tally in tallies.values()) + " |"


HEAD = """# Calibration of `fobench compare`

{runs:,} simulated comparisons a column, each with {resamples:,} resamples, made by `python reports/tools/calibration.py`
(which also tells the model). Items are drawn from the questions of the committed baseline. *Noisy*: a tenth of the questions is
answered right in only one of two equal runs, every word is misheard by chance, every latency varies by 10 %. *Quiet*: nothing
differs but what is planted, as with greedy decoding and declared costs. In brackets: 95 % intervals of the simulated shares.

The gates: {gates}.
"""
LEVEL = """Two equal noisy systems. The nominal level is 5 % for the family of five tests. A gate also asks for an effect beyond its
limit: it refuses an equal system more seldom, and with many items hardly ever. These limits are narrow for systems of such
noise: with 60 and with 240 items some gate mostly says that it cannot tell, and how many items would do."""
COVER = """How often the 95 % interval of a change holds the true one: of the difference of an accuracy, a parity and a WER, of the
ratio of latencies. *Noisy* and *quiet* columns have a true change, "speakers" columns a WER that goes by voice, resampled by
speaker. What is right or wrong gets Bonett and Price's interval; the paired bootstrap below it is a little narrow where hardly an
item changes. Quiet latencies differ by exactly what is planted: their interval has no width."""
POWER = """How often a one-sided test at 5 % finds what is planted."""


def main() -> None:
    """Simulates all cases and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    people, found = Population.load(), {}
    for seed, (name, case) in enumerate({**ALIKE, **SPOKEN, **PLANTED, **PLANTED_SPOKEN}.items()):
        found[name] = simulate(case, people, options.runs, seed)
        print(name, found[name], flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "README.md").write_text("\n".join(report(found)) + "\n")
    data = {name: vars(tally) for name, tally in found.items()}
    (options.out / "results.json").write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
