"""Hand-made snapshots for the tests of comparisons: items and their scores, as of a run with measured costs; and their comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fobench.comparison import compare
from fobench.comparison.comparison import Comparison
from fobench.comparison.gates import Gate
from fobench.comparison.metric_delta import MetricDelta
from fobench.comparison.snapshot import ScoreColumn, Snapshot, SnapshotItem

RUN: dict[str, Any] = {
    "status": "complete",
    "fobench": "0.1.0",
    "config": {"system": "cascade", "suites": ["spoken-qa"], "seed": 0, "clock": "virtual", "judge": "whisper"},
    "components": {"judge": {"model": "whisper tiny.en"}},
    "costs": "measured",
    "machine": {"cpu": "Example CPU", "instruction_sets": ["avx2"], "cores": 2, "gpu": None},
    "packages": {"jiwer": "4.0.0"},
    "git": {"commit": "0123456789abcdef", "dirty": False},
}

RNG = np.random.default_rng(0)
LATE = 1_000 * RNG.lognormal(0, 0.3, 240)
WORDS = RNG.integers(4, 14, 240).astype(float)
ERRORS = RNG.binomial(WORDS.astype(int), 0.05).astype(float)
RIGHT = (RNG.random(240) < 0.6).astype(float)
RESAMPLES = 2_000


def column(
    unit: str,
    better: str,
    numerators: Sequence[float],
    denominators: Sequence[float] | None = None,
    is_distribution: bool = False,
) -> ScoreColumn:
    rows, values = np.arange(len(numerators)), np.asarray(numerators, dtype=float)
    sizes = np.ones(len(numerators)) if denominators is None else np.asarray(denominators, dtype=float)
    return ScoreColumn(1, unit, better, is_distribution, rows, values, sizes)


def accuracy(right: Sequence[float]) -> ScoreColumn:
    return column("share", "higher", right)


def wer(errors: Sequence[float], words: Sequence[float]) -> ScoreColumn:
    return column("ratio", "lower", errors, words)


def latency(values_ms: Sequence[float]) -> ScoreColumn:
    return column("ms", "lower", values_ms, is_distribution=True)


def snapshot(
    name: str = "base",
    groups: Sequence[str] | None = None,
    run: Mapping[str, Any] | None = None,
    **columns: ScoreColumn,
) -> Snapshot:
    """Items q-0, q-1, ..., each its own group unless `groups` are given. `run`: what differs from `RUN`, as in run.json."""
    n = max(int(c.items.max()) + 1 for c in columns.values())
    names = groups or [f"speaker-{i}" for i in range(n)]
    items = tuple(
        SnapshotItem(f"q-{i}", names[i], "abc", {"asked": f"question {i}", "wrote": f"{name} {i}"}) for i in range(n)
    )
    changed = {**RUN, **(run or {})}
    changed["config"] = {**RUN["config"], **(run or {}).get("config", {})}
    return Snapshot(name, changed, items, columns)


def noisy(values: Sequence[float]) -> Sequence[float]:
    """The values, each times a factor of its own: lognormal, about 5 %."""
    return values * np.random.default_rng(1).lognormal(0, 0.05, len(values))


def full(
    name: str = "base",
    right: Sequence[float] = RIGHT,
    errors: Sequence[float] = ERRORS,
    late: Sequence[float] = LATE,
    **settings: Any,
) -> Snapshot:
    """A snapshot of 240 items with an accuracy, an error rate and a latency."""
    columns = {
        "accuracy_s2t": accuracy(right),
        "understanding_wer": wer(errors, WORDS[: len(errors)]),
        "response_ms": latency(late),
    }
    return snapshot(name, **columns, **settings)


def ruled(base: Snapshot, new: Snapshot, *gates: str, **settings: Any) -> Comparison:
    """The comparison of two snapshots, with gates as they are written on the command line."""
    return compare(base, new, [Gate.parse(gate) for gate in gates], **{"resamples": RESAMPLES, **settings})


def change(comparison: Comparison, figure: str) -> MetricDelta:
    return next(change for change in comparison.changes if change.figure == figure)
