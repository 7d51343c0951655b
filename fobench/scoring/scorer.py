"""Scoring of a run: from the traces in its folder to scores.json and scores.parquet, deterministic and without a model.

Equal traces give byte-equal files: values are rounded to 9 decimals, keys are sorted, and no time stamp is written.
"""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fobench import outside_files
from fobench.api import registry
from fobench.api.components import Metric, ModelMetric
from fobench.api.results import LimitOutcome, Results
from fobench.api.trace import Trace
from fobench.api.types import Score
from fobench.errors import FobenchError, PrerequisiteError, describe_error, unknown
from fobench.scoring import limits
from fobench.scoring.hosted_metric import HostedMetric
from fobench.scoring.model_answers import ModelAnswers
from fobench.scoring.score_table import write_table
from fobench.scoring.turn_limits import NOT_REACHED, about_turn, turn_limits
from fobench.storage.run_folder import RunFolder

VERSION = 1  # of the format of scores.json
DECIMALS = 9
SCORES = "scores.json"
SCORE_FIELDS = tuple(field.name for field in fields(Score))
RAISED = "raised"  # detail of a score that is missing because the metric failed
ACCURACY = "accuracy_"  # metrics of this prefix are also broken down by tag

Options = Mapping[str, Mapping[str, Any]]
FAMILY_UNITS = ("share", "ms", "chunks")  # metrics of these units are also broken down by family
ByTag = dict[str, dict[str, dict[str, dict[str, Any]]]]


@dataclass(frozen=True, slots=True)
class ScoresFile:
    """The format of scores.json. `by_tag`, `by_family`: as in `Results`; `incomplete`: the numbers done and planned; `limits`: of
    absolute limits.
    """

    version: int
    metrics: dict[str, int]
    totals: tuple[Score, ...]
    scenarios: dict[str, tuple[Score, ...]]
    by_tag: dict[str, dict[str, dict[str, TagTotal]]]
    by_family: dict[str, dict[str, TagTotal]] = field(default_factory=dict)
    incomplete: dict[str, int] = field(default_factory=dict)
    limits: tuple[LimitOutcome, ...] = ()


@dataclass(frozen=True, slots=True)
class TagTotal:
    """A metric's value over the scenarios of a tag or family."""

    value: float | None
    n: int
    ci: tuple[float, float] | None = None


def score_run(
    folder: Path, metrics: Options | None = None, named: str = "", asserts: Sequence[str] | None = None
) -> Results:
    """The results of all registered metrics on the traces of a run; writes scores.json and scores.parquet atomically.

    `metrics`: options by metric name; others keep their defaults. `named`: a further metric, of a family; one that asks a
    model does so, and later scorings recall its answers. Or one that is always scored, for its options. `asserts`: absolute limits;
    None: the run's own. Raises `FobenchError` for a folder without a run, a broken
    trace (with its line), a duplicate trace or one that is not in the run.
    """
    answers = ModelAnswers(folder)
    always = named in registry.factories("metrics")
    if always and not (metrics or {}).get(named):
        raise FobenchError(
            f"The metric {named!r} is part of every scoring: give its options by --metric-args, or name a metric of a family, "
            "e.g. llm_judge:MODEL."
        )
    named = "" if always else named
    further = named or answers.metric
    instances = make_metrics(metrics or {}, further)
    try:
        if further and isinstance(judge := instances[-1], ModelMetric):
            answers.provide(judge, read_traces(folder, RunFolder(folder).read_run()), named)
        with _no_garbage_collection():
            return _score_run(folder, instances, asserts)
    finally:
        for hosted in instances:
            if isinstance(hosted, HostedMetric):
                hosted.stop()


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Pauses the search for reference cycles: of a million small objects that all stay, it takes a tenth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def check_limits(asserts: Sequence[str], named: str = "") -> None:
    """Raises `FobenchError` for absolute limits that are none, or on a metric that no scoring gives, before any scoring.

    `named`: a further metric, as in `score_run`.
    """
    if not asserts:
        return
    instances = make_metrics({}, named)
    try:
        totals = [total for metric in instances for total in _aggregate(metric, [])]
        limits.check(asserts, {total.metric: total.unit for total in totals})
    finally:
        for hosted in instances:
            if isinstance(hosted, HostedMetric):
                hosted.stop()


def _score_run(folder: Path, instances: Sequence[Metric], asserts: Sequence[str] | None) -> Results:
    run = RunFolder(folder).read_run()
    wanted = run.get("config", {}).get("asserts", ()) if asserts is None else asserts
    traces = read_traces(folder, run)
    scores = [[_score_trace(metric, trace) for metric in instances] for trace in traces]
    by_metric = {metric.name: [row[i] for row in scores] for i, metric in enumerate(instances)}
    totals = [total for metric in instances for total in _aggregate(metric, by_metric[metric.name])]
    outcomes = limits.outcomes(wanted, totals)
    for trace, row in zip(traces, scores, strict=True):
        outcomes += _scenario_outcomes(trace, instances, row)
    kept = [_to_json(asdict(outcome)) for outcome in outcomes]
    data = {
        "version": VERSION,
        "metrics": {metric.name: metric.version for metric in instances},
        "totals": [_score_to_json(total) for total in totals],
        "scenarios": {
            trace.id: [_score_to_json(score) for score in row] for trace, row in zip(traces, scores, strict=True)
        },
        "by_tag": _to_json(by_tag(instances, traces, by_metric)),
        **_by_family(instances, traces, by_metric),
        **_incomplete(run, traces),
        **({"limits": kept} if kept else {}),
    }
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    RunFolder(folder).write_text(SCORES, text + "\n")
    results = _results(folder, run, traces, data)
    write_table(results)
    return results


def _scenario_outcomes(trace: Trace, instances: Sequence[Metric], scores: Sequence[Score]) -> list[LimitOutcome]:
    """The outcomes of a scenario's own limits, and of those of its turns."""
    expect = trace.scenario.expect
    found: list[LimitOutcome] = []
    if expect.asserts:
        pairs = zip(instances, scores, strict=True)
        totals = [total for metric, score in pairs for total in _aggregate(metric, [score])]
        found += [replace(each, scenario=trace.id) for each in limits.outcomes(expect.asserts, totals)]
    for expected in expect.turns:
        for text, kind, limit, words in turn_limits(expected):
            part = trace if trace.failure else about_turn(trace, expected.turn, kind)
            name = limits.Limit.parse(limit).metric
            concerned = [metric for metric in instances if metric.name == name]
            if part is None:
                outcome = LimitOutcome(text, name, "", None, False, NOT_REACHED)
            else:
                totals = [t for metric in concerned for t in _aggregate(metric, [_score_trace(metric, part)])]
                (outcome,) = limits.outcomes([limit], totals)
            why = words if words and outcome.value is not None and not outcome.kept else outcome.why
            found.append(replace(outcome, text=text, why=why, scenario=trace.id, turn=expected.turn))
    return found


def failed_metrics(results: Results) -> dict[str, str]:
    """{metric: the first reason} of the metrics that raised, hung or returned nonsense, on a trace or for the run."""
    scores = (score for row in (*results.scores, results.totals) for score in row)
    failed: dict[str, str] = {}
    for score in scores:
        if score.detail.get(RAISED) is True:
            failed.setdefault(score.metric, score.reason)
    return failed


def load_results(folder: Path) -> Results:
    """The results that `score_run` wrote. Raises `PrerequisiteError` if the folder is not scored yet."""
    run = RunFolder(folder).read_run()
    traces = read_traces(folder, run)
    data = read_scores(folder)
    if set(data["scenarios"]) != {trace.id for trace in traces}:
        raise rescore_error(folder, "is of other traces than the folder holds now")
    return _results(folder, run, traces, data)


def read_scores(folder: Path) -> dict[str, Any]:
    """The content of scores.json. Raises `PrerequisiteError` if there is none, or one of another version."""
    try:
        data = outside_files.read_json(folder / SCORES)
        version = data.get("version") if isinstance(data, dict) else None
        if version != VERSION:
            raise rescore_error(folder, f"has version {version!r}, not {VERSION}")
        outside_files.record(ScoresFile, data)
    except FileNotFoundError as error:
        raise PrerequisiteError(f"{folder} has no scores yet. Score it: fobench score {folder}") from error
    except (OSError, ValueError) as error:
        raise rescore_error(folder, f"cannot be read ({error})") from error
    return dict(data)


def rescore_error(folder: Path, why: str) -> PrerequisiteError:
    """The error for an unusable scores.json: the reason `why`, and the command that writes it again."""
    return PrerequisiteError(f"{folder / SCORES} {why}. Score it again: fobench score {folder}")


def make_metrics(options: Options, further: str = "") -> list[Metric]:
    """All registered metrics, in order of registration, and the member `further` of a family.

    Raises `FobenchError` for an unknown metric.
    """
    names = [name for name in registry.factories("metrics") if not name.endswith(":")]
    if further:
        registry.find("metrics", further)
        names.append(further)
    for name in options:
        if name not in names:
            raise unknown("metric", name, names)
    made = [_make_metric(name, options.get(name)) for name in names]
    known = {metric.name for metric in made if not isinstance(metric, HostedMetric)}
    for name, metric in zip(names, made, strict=True):
        if isinstance(metric, HostedMetric):
            if metric.name in known:
                metric.give_up(name, f"it calls itself {metric.name!r}, as another metric does")
            known.add(metric.name)
    return made


def _make_metric(name: str, options: Mapping[str, Any] | None) -> Metric:
    """The metric `name`; one of another package runs in a process of its own."""
    hosted = registry.is_third_party("metrics", name)
    metric: Metric = HostedMetric(name, options) if hosted else registry.create("metrics", name, options)
    return metric


def read_traces(folder: Path, run: Mapping[str, Any]) -> list[Trace]:
    """The run's finished traces in the order of its suites. Raises `FobenchError` for a duplicate or unlisted scenario."""
    position = {name: i for i, name in enumerate(run.get("scenarios", ()))}
    traces: dict[str, Trace] = {}
    source = RunFolder(folder)
    name = source.traces_path.name
    for trace in source.traces():
        if trace.id in traces:
            raise FobenchError(
                f"{folder}: {name} holds the scenario {trace.id!r} twice. Remove one of its lines; if they are equal,"
                f" fobench run --resume {folder} does."
            )
        if position and trace.id not in position:
            raise FobenchError(f"{folder}: {name} holds the scenario {trace.id!r}, which run.json does not list.")
        traces[trace.id] = trace
    return sorted(traces.values(), key=lambda trace: position.get(trace.id, 0))


def by_tag(metrics: Sequence[Metric], traces: Sequence[Trace], scores: Mapping[str, Sequence[Score]]) -> ByTag:
    """The accuracies by value of each tag: {tag: {value: {metric: {"value", "n"}}}}."""
    members: dict[tuple[str, str], list[int]] = {}
    for i, trace in enumerate(traces):
        for tag, value in trace.scenario.tags.items():
            members.setdefault((tag, value), []).append(i)
    totals: ByTag = {}
    for (tag, value), indices in members.items():
        for metric in (m for m in metrics if m.name.startswith(ACCURACY)):
            total = _aggregate(metric, [scores[metric.name][i] for i in indices])[0]
            totals.setdefault(tag, {}).setdefault(value, {})[metric.name] = {"value": total.value, "n": total.n}
    return totals


def _by_family(
    metrics: Sequence[Metric], traces: Sequence[Trace], scores: Mapping[str, Sequence[Score]]
) -> dict[str, Any]:
    """The entry "by_family" of scores.json, {family: {metric: {"value", "n", "ci"}}}; empty for a single family."""
    members: dict[str, list[int]] = {}
    for i, trace in enumerate(traces):
        members.setdefault(trace.scenario.expect.family, []).append(i)
    if len(members) < 2:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for family, indices in members.items():
        for metric in (m for m in metrics if m.unit in FAMILY_UNITS):
            for total in _aggregate(metric, [scores[metric.name][i] for i in indices]):
                if total.value is not None:
                    found.setdefault(family, {})[total.metric] = {"value": total.value, "n": total.n, "ci": total.ci}
    return {"by_family": _to_json(found)}


def _incomplete(run: Mapping[str, Any], traces: Sequence[Trace]) -> dict[str, Any]:
    """The entry "incomplete" of scores.json; empty for a complete run."""
    planned = len(run.get("scenarios", ()))
    return {"incomplete": {"done": len(traces), "of": planned}} if len(traces) < planned else {}


def _score_trace(metric: Metric, trace: Trace) -> Score:
    """The metric's score of a trace; without a value, and with the error as the reason, if the metric raises."""
    try:
        return metric.score(trace, trace.scenario)
    except Exception as error:  # a plugin's error affects only its own score of this scenario
        detail = {"group": trace.scenario.group, RAISED: True}
        reason = f"the metric raised {_reason(error)}"
        return Score(metric.name, metric.version, None, metric.unit, 0, metric.better, reason, detail=detail)


def _reason(error: Exception) -> str:
    return describe_error(error, name=not isinstance(error, FobenchError))


def _aggregate(metric: Metric, scores: Sequence[Score]) -> list[Score]:
    """The metric's totals; one without a value, and with the error as the reason, if the metric raises."""
    try:
        totals = metric.aggregate(scores)
        if not totals:
            raise ValueError("it gave no score")
        return totals
    except Exception as error:  # a plugin's error affects only its own total
        reason = f"the metric cannot aggregate its scores: {_reason(error)}"
        return [Score(metric.name, metric.version, None, metric.unit, 0, metric.better, reason, detail={RAISED: True})]


def _results(folder: Path, run: Mapping[str, Any], traces: Sequence[Trace], data: Mapping[str, Any]) -> Results:
    scores = [[_score_from_json(item) for item in data["scenarios"][trace.id]] for trace in traces]
    totals = [_score_from_json(item) for item in data["totals"]]
    outcomes = [LimitOutcome(**outcome) for outcome in data.get("limits", ())]
    return Results(folder, run, traces, scores, totals, data["by_tag"], data.get("by_family", {}), outcomes)


def _score_to_json(score: Score) -> dict[str, Any]:
    """The score as JSON data. A value that is not finite becomes None, with a reason."""
    data = {name: _to_json(getattr(score, name)) for name in SCORE_FIELDS}
    if score.value is not None and data["value"] is None:
        data["reason"] = f"not a finite number: {score.value}"
    return data


def _score_from_json(data: Mapping[str, Any]) -> Score:
    return Score(**{**data, "ci": tuple(data["ci"]) if data["ci"] else None})


def _to_json(value: Any) -> Any:
    """`value` as JSON data: floats rounded (None if not finite), tuples as lists, keys as text."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        return round(value, DECIMALS) if math.isfinite(value) else None
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [_to_json(item) for item in value]
    return round(float(value), DECIMALS) if math.isfinite(value) else None
