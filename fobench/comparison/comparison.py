"""Comparison of two runs: compatibility, metric deltas and gate verdicts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fobench.comparison.compatibility import Incompatibility, caveats, mismatches
from fobench.comparison.gate_verdict import ALPHA, GateOutcome, GateVerdict, gate_verdicts, guard_verdicts
from fobench.comparison.gates import ALIASES, Gate
from fobench.comparison.metric_delta import MetricDelta, metric_deltas
from fobench.comparison.paired_scores import PairedScores, common_ids, pair_scores
from fobench.comparison.snapshot import Snapshot
from fobench.console import counted
from fobench.errors import FobenchError
from fobench.formatting import one_line
from fobench.scoring.scorer import read_scores
from fobench.statistics.bootstrap import RESAMPLES, SEED
from fobench.statistics.proportions import holm

VERSION = 1
EXIT = {GateOutcome.REGRESSION: 1, GateOutcome.INCONCLUSIVE: 3, GateOutcome.OK: 0}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of `new` with `base` over their common items `ids`. `pairs`: by metric; `warnings`: the caveats."""

    base: Snapshot
    new: Snapshot
    ids: Sequence[str]
    pairs: Mapping[str, PairedScores]
    changes: Sequence[MetricDelta]
    verdicts: Sequence[GateVerdict]
    warnings: Sequence[str]
    alpha: float

    @property
    def exit_code(self) -> int:
        """1 if any gate has a regression, else 3 if any is inconclusive, else 0."""
        found = {verdict.verdict for verdict in self.verdicts}
        return next((EXIT[outcome] for outcome in GateOutcome if outcome in found), 0)

    def corrected(self) -> list[float]:
        """Holm-corrected two-sided p of each delta; all shown deltas are one family."""
        return holm([change.p for change in self.changes])

    @property
    def regressions(self) -> list[GateVerdict]:
        return [verdict for verdict in self.verdicts if verdict.verdict == GateOutcome.REGRESSION]

    def to_json(self) -> dict[str, Any]:
        found = zip(self.changes, self.corrected(), strict=True)
        return {
            "version": VERSION,
            "base": _describe_run(self.base),
            "new": _describe_run(self.new),
            "items": len(self.ids),
            "alpha": self.alpha,
            "exit_code": self.exit_code,
            "gates": [verdict.to_json() for verdict in self.verdicts],
            "changes": [{**change.to_json(), "p_holm": p} for change, p in found],
            "warnings": list(self.warnings),
            "changed": self.changed_values(),
        }

    def changed_values(self) -> dict[str, dict[str, list[float]]]:
        """{item: {metric: [base, new]}} of all values that differ."""
        found: dict[str, dict[str, list[float]]] = {}
        for metric, pairs in self.pairs.items():
            values = pairs.values(len(self.ids))
            for index in np.flatnonzero(np.isfinite(values).all(axis=1) & (values[:, 0] != values[:, 1])):
                found.setdefault(self.ids[int(index)], {})[metric] = values[index].tolist()
        return found

    def dumps(self) -> str:
        """The content of comparison.json; values that are not finite are null, as in standard JSON."""
        return json.dumps(_null_if_not_finite(self.to_json()), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def compare(
    base: Snapshot,
    new: Snapshot,
    gates: Iterable[Gate] = (),
    *,
    allow_mismatch: bool = False,
    alpha: float = ALPHA,
    seed: int = SEED,
    resamples: int = RESAMPLES,
) -> Comparison:
    """The comparison of two runs by item. Raises `FobenchError` for incompatible runs, and for a gate on a metric not in both.

    If no gated metric is affected by the incompatibility (another machine, say, and no gate on a latency), the affected
    metrics are left out instead.
    """
    gates = list(gates)
    pairs_by_metric = {pairs.metric: pairs for pairs in pair_scores(base, new)}
    incompatibilities = mismatches(base, new)
    blocking = [] if allow_mismatch else _blocking(incompatibilities, gates, pairs_by_metric)
    if blocking:
        raise FobenchError(_incompatible_message(base, new, blocking))
    excluded = (
        []
        if allow_mismatch
        else [m for m, pairs in pairs_by_metric.items() if any(each.affects(pairs) for each in incompatibilities)]
    )
    pairs_by_metric = {metric: pairs for metric, pairs in pairs_by_metric.items() if metric not in excluded}
    if not pairs_by_metric:
        shared = f"{counted(len(base.items), 'scenario')} in the first, {len(new.items):,} in the second, {len(common_ids(base, new)):,} in both"
        raise FobenchError(f"{base.name} and {new.name} have no metric in common: {shared}.")
    ids = common_ids(base, new)
    deltas = metric_deltas(list(pairs_by_metric.values()), len(ids), seed, resamples)
    by_name = {change.figure: change for change in deltas}
    known = {name: (change.unit, change.better) for name, change in by_name.items()}
    resolved = [_resolve_gate(gate, known, base, new) for gate in gates]
    gated = [(gate, by_name[gate.figure]) for gate in resolved]
    verdicts = [*gate_verdicts(gated, alpha), *guard_verdicts(gated, by_name, alpha)]
    warnings = [f"Difference: {mismatch}." for mismatch in incompatibilities]
    warnings += [f"Left out as not comparable: {', '.join(excluded)}."] if excluded else []
    warnings += _unpaired(base, new, ids, {by_name[gate.figure].metric for gate in resolved})
    shown = [change for change in deltas if change.shown]
    warnings = list(dict.fromkeys([*warnings, *caveats(base, new)]))  # a run compared with itself has each caveat twice
    return Comparison(base, new, ids, pairs_by_metric, shown, verdicts, warnings, alpha)


def _unpaired(base: Snapshot, new: Snapshot, ids: Sequence[str], metrics: Iterable[str]) -> Iterator[str]:
    """Caveats of gated metrics: scenarios of both runs with a value in only one, e.g. without a reply in the other."""
    for metric in sorted(metrics):
        first_ids, second_ids = ({run.items[i].id for i in run.columns[metric].items} & {*ids} for run in (base, new))
        for run, only in ((base, first_ids - second_ids), (new, second_ids - first_ids)):
            if only:
                yield f"{metric}: {counted(len(only), 'scenario')} with a value in {run.name} only, left out of the pairs."


def _resolve_gate(gate: Gate, known: Mapping[str, tuple[str, str]], base: Snapshot, new: Snapshot) -> Gate:
    """The gate on a metric of both runs. Raises `FobenchError` naming the run without a value."""
    check_values(gate, (base, new))
    return gate.resolve(known)


def check_values(gate: Gate, runs: Sequence[Snapshot]) -> None:
    """Raises `FobenchError` naming the runs without a value of the gated metric, and why, if it is one that fobench knows."""
    lacking = [run for run in runs if not any(metric in run.columns for metric in gate.metrics)]
    reasons = {run.name: _missing_reason(run, gate) for run in lacking}
    if not lacking or (len(lacking) == len(runs) and not any(reasons.values()) and gate.figure not in ALIASES):
        return
    why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason)
    places = ", ".join(str(run.folder or run.name) for run in lacking)
    names = " and ".join(reasons)
    have = "has" if len(reasons) == 1 else "have"
    raise FobenchError(
        f"--fail-on {gate.text!r}: {names} {have} no value of {gate.figure} "
        f"({why or f'its report says why: {places}'}); gate on a metric that both runs have."
    )


def _missing_reason(run: Snapshot, gate: Gate) -> str:
    """Why a run's total has no value; empty if the run has no such total, or is a baseline."""
    totals = read_scores(run.folder)["totals"] if run.folder else ()
    return next((one_line(t["reason"]) for t in totals if t["metric"] in gate.metrics and t["value"] is None), "")


def _blocking(
    incompatibilities: Sequence[Incompatibility], gates: Sequence[Gate], pairs_by_metric: Mapping[str, PairedScores]
) -> list[Incompatibility]:
    """The incompatibilities that affect a gated metric; without gates, all."""
    gated = [pairs for gate in gates for metric, pairs in pairs_by_metric.items() if metric in gate.metrics]
    return [each for each in incompatibilities if not gated or any(each.affects(pairs) for pairs in gated)]


def _incompatible_message(base: Snapshot, new: Snapshot, refused: Sequence[Incompatibility]) -> str:
    listed = "".join(f"\n  - {mismatch}" for mismatch in refused)
    ways = ["Make these equal, or compare anyway with --allow-mismatch"]
    if all(mismatch.times for mismatch in refused):
        ways.append(
            "gates on metrics other than times (--fail-on) leave times out; a replayed latency profile is equal on every machine"
        )
    return f"{base.name} and {new.name} are not comparable:{listed}\n{'; '.join(ways)}."


def _describe_run(run: Snapshot) -> dict[str, Any]:
    about = {key: run.run.get(key) for key in ("config", "components", "machine", "git", "costs", "started", "fobench")}
    return {"name": run.name, "scenarios": len(run.items), **about}


def _null_if_not_finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _null_if_not_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_null_if_not_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
