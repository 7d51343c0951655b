"""Scoring a run: its folder's traces in, scores.json and scores.parquet out. No model, no clock, no chance.

What is scored twice is equal to the byte: values are rounded to 9 decimals, keys are sorted, no time of day is written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from fobench.api import registry
from fobench.api.components import Metric
from fobench.api.results import Results
from fobench.api.trace import Trace
from fobench.api.types import Score
from fobench.errors import FobenchError, PrerequisiteError, unknown
from fobench.scoring.score_table import write_table
from fobench.storage.run_folder import RunFolder

VERSION = 1  # of scores.json
DECIMALS = 9
SCORES = "scores.json"
SCORE_FIELDS = tuple(field.name for field in fields(Score))
ACCURACY = "accuracy_"  # metrics of this prefix are also broken down by tag

Options = Mapping[str, Mapping[str, Any]]
FAMILY_UNITS = ("share", "ms", "chunks")  # metrics of these units are also broken down by family
ByTag = dict[str, dict[str, dict[str, dict[str, Any]]]]


def score_run(folder: Path, metrics: Options | None = None) -> Results:
    """Scores the traces of a run by every registered metric and writes scores.json and scores.parquet, atomically.

    `metrics`: options by metric name; metrics that are not named keep their defaults. Raises `FobenchError` for a folder
    without a run, a broken trace (its line is named), a trace twice or one that the run does not have.
    """
    made = make_metrics(metrics or {})
    run = RunFolder(folder).read_run()
    traces = read_traces(folder, run)
    scores = [[_scored(metric, trace) for metric in made] for trace in traces]
    by_metric = {metric.name: [row[i] for row in scores] for i, metric in enumerate(made)}
    totals = [_plain(total) for metric in made for total in _totals(metric, by_metric[metric.name])]
    data = {
        "version": VERSION,
        "metrics": {metric.name: metric.version for metric in made},
        "totals": totals,
        "scenarios": {trace.id: [_plain(score) for score in row] for trace, row in zip(traces, scores, strict=True)},
        "by_tag": _rounded(by_tag(made, traces, by_metric)),
        **_families(made, traces, by_metric),
        **_incomplete(run, traces),
    }
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    RunFolder(folder).write_text(SCORES, text + "\n")
    results = _results(folder, run, traces, data)
    write_table(results)
    return results


def load_results(folder: Path) -> Results:
    """The results that `score_run` wrote, read back. Raises `PrerequisiteError` if the folder has yet to be scored."""
    run = RunFolder(folder).read_run()
    traces = read_traces(folder, run)
    again = f"Score it again: fobench score {folder}"
    try:
        data = json.loads((folder / SCORES).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PrerequisiteError(f"{folder} has no scores yet. Score it: fobench score {folder}") from error
    except ValueError as error:
        raise PrerequisiteError(f"{folder / SCORES} cannot be read ({error}). {again}") from error
    if data.get("version") != VERSION:
        raise PrerequisiteError(f"{folder / SCORES} has version {data.get('version')!r}, not {VERSION}. {again}")
    if set(data["scenarios"]) != {trace.id for trace in traces}:
        raise PrerequisiteError(f"{folder / SCORES} is of other traces than the folder holds now. {again}")
    return _results(folder, run, traces, data)


def make_metrics(options: Options) -> list[Metric]:
    """Every registered metric, in order of registration. Raises `FobenchError` for options of one that nobody provides."""
    names = [name for name in registry.factories("metrics") if not name.endswith(":")]
    for name in options:
        if name not in names:
            raise unknown("metric", name, names)
    return [registry.create("metrics", name, options.get(name)) for name in names]


def read_traces(folder: Path, run: Mapping[str, Any]) -> list[Trace]:
    """The run's finished traces in the order of its suites; scenarios that are yet to be run are absent."""
    position = {name: i for i, name in enumerate(run.get("scenarios", ()))}
    found: dict[str, Trace] = {}
    for trace in RunFolder(folder).traces():
        if trace.id in found:
            raise FobenchError(
                f"{folder}: traces.jsonl holds the scenario {trace.id!r} twice. Remove one of its lines."
            )
        if position and trace.id not in position:
            raise FobenchError(f"{folder}: traces.jsonl holds the scenario {trace.id!r}, which run.json does not list.")
        found[trace.id] = trace
    return sorted(found.values(), key=lambda trace: position.get(trace.id, 0))


def by_tag(metrics: Sequence[Metric], traces: Sequence[Trace], scores: Mapping[str, Sequence[Score]]) -> ByTag:
    """The accuracies of the scenarios of each value of each tag: {tag: {value: {metric: {"value", "n"}}}}."""
    members: dict[tuple[str, str], list[int]] = {}
    for i, trace in enumerate(traces):
        for tag, value in trace.scenario.tags.items():
            members.setdefault((tag, value), []).append(i)
    found: ByTag = {}
    for (tag, value), indices in members.items():
        for metric in (m for m in metrics if m.name.startswith(ACCURACY)):
            total = _totals(metric, [scores[metric.name][i] for i in indices])[0]
            found.setdefault(tag, {}).setdefault(value, {})[metric.name] = {"value": total.value, "n": total.n}
    return found


def _families(
    metrics: Sequence[Metric], traces: Sequence[Trace], scores: Mapping[str, Sequence[Score]]
) -> dict[str, Any]:
    """What scores.json says of each family by itself, {family: {metric: {"value", "n", "ci"}}}; nothing of a single one."""
    members: dict[str, list[int]] = {}
    for i, trace in enumerate(traces):
        members.setdefault(trace.scenario.expect.family, []).append(i)
    if len(members) < 2:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for family, indices in members.items():
        for metric in (m for m in metrics if m.unit in FAMILY_UNITS):
            for total in _totals(metric, [scores[metric.name][i] for i in indices]):
                if total.value is not None:
                    found.setdefault(family, {})[total.metric] = {"value": total.value, "n": total.n, "ci": total.ci}
    return {"by_family": _rounded(found)}


def _incomplete(run: Mapping[str, Any], traces: Sequence[Trace]) -> dict[str, Any]:
    """What scores.json says of a run that is not complete; nothing of one that is."""
    planned = len(run.get("scenarios", ()))
    return {"incomplete": {"done": len(traces), "of": planned}} if len(traces) < planned else {}


def _scored(metric: Metric, trace: Trace) -> Score:
    """The metric's score of a trace; a metric that raises has no score there, with the error as the reason."""
    try:
        return metric.score(trace, trace.scenario)
    except Exception as error:  # a plugin's defect costs its own score of this scenario, and is written down
        detail = {"group": trace.scenario.group, "raised": True}
        reason = f"the metric raised {error!r}"
        return Score(metric.name, metric.version, None, metric.unit, 0, metric.better, reason, detail=detail)


def _totals(metric: Metric, scores: Sequence[Score]) -> list[Score]:
    try:
        return metric.aggregate(scores)
    except Exception as error:  # a plugin may fail in any way; the user must learn which
        raise FobenchError(f"The metric {metric.name!r} cannot add up its scores: {error!r}") from error


def _results(folder: Path, run: Mapping[str, Any], traces: Sequence[Trace], data: Mapping[str, Any]) -> Results:
    scores = [[_score(item) for item in data["scenarios"][trace.id]] for trace in traces]
    totals = [_score(item) for item in data["totals"]]
    return Results(folder, run, traces, scores, totals, data["by_tag"], data.get("by_family", {}))


def _plain(score: Score) -> dict[str, Any]:
    """The score as JSON data. A value that is no finite number becomes None, with a reason."""
    data = {name: _rounded(getattr(score, name)) for name in SCORE_FIELDS}
    if score.value is not None and data["value"] is None:
        data["reason"] = f"not a finite number: {score.value}"
    return data


def _score(data: Mapping[str, Any]) -> Score:
    return Score(**{**data, "ci": tuple(data["ci"]) if data["ci"] else None})


def _rounded(value: Any) -> Any:
    """`value` as plain JSON data: floats rounded (None if not finite), tuples as lists, keys as text."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [_rounded(item) for item in value]
    return round(float(value), DECIMALS) if math.isfinite(value) else None
