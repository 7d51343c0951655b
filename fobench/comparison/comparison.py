"""A comparison of a run with another: their likeness, all changes, the gates' rulings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fobench.comparison.compatibility import Incompatibility, mismatches, notes
from fobench.comparison.gate_verdict import ALPHA, GateOutcome, GateVerdict, rulings
from fobench.comparison.gates import Gate
from fobench.comparison.metric_delta import MetricDelta, changes
from fobench.comparison.paired_scores import PairedScores, common, paired
from fobench.comparison.snapshot import Snapshot
from fobench.console import counted
from fobench.errors import FobenchError
from fobench.statistics.bootstrap import RESAMPLES, SEED
from fobench.statistics.proportions import holm

VERSION = 1
EXIT = {GateOutcome.REGRESSION: 1, GateOutcome.INCONCLUSIVE: 3, GateOutcome.OK: 0}


@dataclass(frozen=True, slots=True)
class Comparison:
    """`new` against `base`, over their common items. `pairs` are by metric; `warnings` are to be borne in mind."""

    base: Snapshot
    new: Snapshot
    ids: Sequence[str]
    pairs: Mapping[str, PairedScores]
    changes: Sequence[MetricDelta]
    rulings: Sequence[GateVerdict]
    warnings: Sequence[str]
    alpha: float

    @property
    def exit_code(self) -> int:
        """1 if any gate tells a regression, else 3 if any is inconclusive, else 0."""
        found = {ruling.verdict for ruling in self.rulings}
        return next((EXIT[verdict] for verdict in GateOutcome if verdict in found), 0)

    def corrected(self) -> list[float]:
        """Holm-corrected two-sided p of each change: all that are shown are one family."""
        return holm([change.p for change in self.changes])

    @property
    def regressions(self) -> list[GateVerdict]:
        return [ruling for ruling in self.rulings if ruling.verdict == GateOutcome.REGRESSION]

    def to_json(self) -> dict[str, Any]:
        found = zip(self.changes, self.corrected(), strict=True)
        return {
            "version": VERSION,
            "base": _told(self.base),
            "new": _told(self.new),
            "items": len(self.ids),
            "alpha": self.alpha,
            "exit_code": self.exit_code,
            "gates": [ruling.to_json() for ruling in self.rulings],
            "changes": [{**change.to_json(), "p_holm": p} for change, p in found],
            "warnings": list(self.warnings),
            "changed": self.changed_values(),
        }

    def changed_values(self) -> dict[str, dict[str, list[float]]]:
        """{item: {metric: [before, now]}} of all that is not the same."""
        found: dict[str, dict[str, list[float]]] = {}
        for metric, pairs in self.pairs.items():
            values = pairs.values(len(self.ids))
            for index in np.flatnonzero(np.isfinite(values).all(axis=1) & (values[:, 0] != values[:, 1])):
                found.setdefault(self.ids[int(index)], {})[metric] = values[index].tolist()
        return found

    def dumps(self) -> str:
        """comparison.json: what is not finite is null, so that any parser reads it."""
        return json.dumps(_finite(self.to_json()), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


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
    """Compares two runs by item. Raises `FobenchError` for unlike ones, and for a gate on what they do not both have.

    Where gates are given, and what is unlike spoils none of their figures (another machine, and no gate on a time), the spoilt
    figures are left out instead.
    """
    gates = list(gates)
    found = {pairs.metric: pairs for pairs in paired(base, new)}
    unlike = mismatches(base, new)
    refused = [] if allow_mismatch else _refused(unlike, gates, found)
    if refused:
        raise FobenchError(_refusal(base, new, refused))
    spoilt = [] if allow_mismatch else [m for m, pairs in found.items() if any(each.spoils(pairs) for each in unlike)]
    found = {metric: pairs for metric, pairs in found.items() if metric not in spoilt}
    if not found:
        raise FobenchError(f"{base.name} and {new.name} have no figure in common: {_nothing_common(base, new)}.")
    ids = common(base, new)
    made = changes(list(found.values()), len(ids), seed, resamples)
    by_name = {change.figure: change for change in made}
    known = {name: (change.unit, change.better) for name, change in by_name.items()}
    resolved = [_resolved(gate, known, base, new) for gate in gates]
    ruled = rulings([(gate, by_name[gate.figure]) for gate in resolved], alpha)
    told = [f"Unlike: {mismatch}." for mismatch in unlike]
    told += [f"Left out, because unlike: {', '.join(spoilt)}."] if spoilt else []
    told += _unpaired(base, new, ids, {by_name[gate.figure].metric for gate in resolved})
    shown = [change for change in made if change.shown]
    return Comparison(base, new, ids, found, shown, ruled, [*told, *notes(base, new)], alpha)


def _unpaired(base: Snapshot, new: Snapshot, ids: Sequence[str], metrics: Iterable[str]) -> Iterator[str]:
    """What a gate does not see: scenarios of both runs that have a value in only one, e.g. those that got no reply."""
    for metric in sorted(metrics):
        had, has = ({run.items[i].id for i in run.columns[metric].items} & {*ids} for run in (base, new))
        for run, only in ((base, had - has), (new, has - had)):
            if only:
                yield f"{metric}: {counted(len(only), 'scenario')} with a value in {run.name} only, and so in no pair."


def _resolved(gate: Gate, known: Mapping[str, tuple[str, str]], base: Snapshot, new: Snapshot) -> Gate:
    """The gate on a figure of both runs. Raises `FobenchError` naming the run that has no value of it."""
    lacking = [run for run in (base, new) if not any(metric in run.columns for metric in gate.metrics)]
    if len(lacking) == 1:
        where = f"its report says why: {lacking[0].folder or lacking[0].name}"
        raise FobenchError(f"--fail-on {gate.text!r}: {lacking[0].name} has no value of {gate.figure}; {where}")
    return gate.resolved(known)


def _refused(
    unlike: Sequence[Incompatibility], gates: Sequence[Gate], found: Mapping[str, PairedScores]
) -> list[Incompatibility]:
    """What is unlike and spoils a gate's figure; without gates, all."""
    gated = [pairs for gate in gates for metric, pairs in found.items() if metric in gate.metrics]
    return [each for each in unlike if not gated or any(each.spoils(pairs) for pairs in gated)]


def _refusal(base: Snapshot, new: Snapshot, refused: Sequence[Incompatibility]) -> str:
    told = "".join(f"\n  - {mismatch}" for mismatch in refused)
    ways = ["Make them alike, or say --allow-mismatch to compare them all the same"]
    if all(mismatch.times for mismatch in refused):
        ways.append("gates on anything but times (--fail-on) leave times out; declared costs are alike on any machine")
    return f"{base.name} and {new.name} are unlike:{told}\n{'; '.join(ways)}."


def _nothing_common(base: Snapshot, new: Snapshot) -> str:
    return f"{counted(len(base.items), 'scenario')} there, {len(new.items):,} here, {len(common(base, new)):,} in both"


def _told(run: Snapshot) -> dict[str, Any]:
    about = {key: run.run.get(key) for key in ("config", "components", "machine", "git", "costs", "started", "fobench")}
    return {"name": run.name, "scenarios": len(run.items), **about}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
