"""Snapshots: the data of a run that a comparison needs, i.e. run.json and each metric's scores by item, without audio.

A snapshot is read from a run folder (scores.json, run.json, and the texts in the traces) or from a baseline file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fobench import outside_files
from fobench.api.results import Results
from fobench.api.scenario import CONDITION
from fobench.api.trace import Trace
from fobench.api.types import EventKind
from fobench.errors import FobenchError
from fobench.scoring.scorer import read_scores, rescore_error
from fobench.statistics.bootstrap import Floats, Ints
from fobench.storage.run_folder import SURROGATES, RunFolder
from fobench.storage.run_record import record_error

VERSION = 1
DIGITS = 12  # hexadecimal digits of a scenario hash
EDITS = ("substitutions", "deletions", "insertions")
DERIVED = {  # metrics without scores of single items: (tested, reference), paired by item
    "parity_a2t2t": ("accuracy_a2t2t", "accuracy_t2t"),
    "parity_s2t": ("accuracy_s2t", "accuracy_t2t"),
    "parity_s2s": ("accuracy_s2s", "accuracy_t2t"),
    "loss_understanding": ("accuracy_s2t", "accuracy_t2t"),
    "loss_speaking": ("accuracy_s2s", "accuracy_s2t"),
}
PERCENT = 100.0


@dataclass(frozen=True, slots=True)
class SnapshotItem:
    """A scenario of a run. `asked`: a hash of the scenario, empty without a trace. `texts`: prompt, transcripts, reply."""

    id: str
    group: str
    asked: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ColumnFile:
    """The format of a column in a baseline; see `ScoreColumn`."""

    version: int
    unit: str
    better: Literal["higher", "lower", "none"]
    spread: bool
    items: tuple[int, ...]
    tops: tuple[float, ...]
    bottoms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class BaselineFile:
    """The format of a baseline. `saved`: when, and at which commit."""

    version: int
    run: dict[str, Any]
    items: tuple[SnapshotItem, ...]
    columns: dict[str, ColumnFile]
    saved: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScoreColumn:
    """One metric's scores. Row i of item `items[i]` has the value `numerators[i] / denominators[i]`; all arrays are [rows].

    The run's value is sum(numerators) / sum(denominators), or percentiles of the values if `is_distribution` (an item may
    then have several rows). In baseline files the keys are `tops`, `bottoms` and `spread`.
    """

    version: int
    unit: str
    better: str
    is_distribution: bool
    items: Ints
    numerators: Floats
    denominators: Floats

    def to_json(self) -> dict[str, Any]:
        facts = {"version": self.version, "unit": self.unit, "better": self.better, "spread": self.is_distribution}
        arrays = {"items": self.items, "tops": self.numerators, "bottoms": self.denominators}
        return {**facts, **{name: [_int_if_whole(value) for value in array.tolist()] for name, array in arrays.items()}}

    @classmethod
    def from_file(cls, column: ColumnFile, items: int) -> ScoreColumn:
        """The column of a baseline of that many items. Raises ValueError for rows without an item, or a negative denominator."""
        rows = np.asarray(column.items, dtype=np.int64)
        numerators, denominators = (np.asarray(values, dtype=float) for values in (column.tops, column.bottoms))
        if not len(rows) == len(numerators) == len(denominators):
            raise ValueError("needs a numerator and a denominator for each of its items")
        if len(rows) and not 0 <= rows.min() <= rows.max() < items:
            raise ValueError(f"has rows of unknown items; there are {items}")
        if (denominators < 0).any():
            raise ValueError("has a negative denominator")
        return cls(column.version, column.unit, column.better, column.spread, rows, numerators, denominators)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run for comparison. `run`: run.json without scenario names. `folder`: the run folder; None for a baseline."""

    name: str
    run: Mapping[str, Any]
    items: tuple[SnapshotItem, ...]
    columns: Mapping[str, ScoreColumn]
    folder: Path | None = None

    @property
    def config(self) -> Mapping[str, Any]:
        return self.run.get("config") or {}

    @classmethod
    def of_run(cls, folder: Path) -> Snapshot:
        """The snapshot of a scored run. Raises `PrerequisiteError` if this version has not scored the run yet."""
        run, data = RunFolder(folder).read_run(), read_scores(folder)
        traces, costs = _traces(folder)
        facts = {**{key: value for key, value in run.items() if key != "scenarios"}, "costs": costs or run.get("costs")}
        try:
            ids = [name for name in run.get("scenarios") or data["scenarios"] if name in data["scenarios"]]
            items = tuple(traces.get(name) or SnapshotItem(name, _group(data["scenarios"][name], name)) for name in ids)
            return cls(folder.name, facts, items, _columns(data, ids), folder)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # of a detail
            raise rescore_error(folder, f"is not what scoring writes ({error!r})") from error

    @classmethod
    def of_condition(cls, results: Results, condition: str, metrics: Collection[str]) -> Snapshot:
        """The scenarios of a scored run under one condition, by the ids of their clean twins, with the columns of `metrics`."""
        heard = [i for i, trace in enumerate(results.traces) if trace.scenario.tags.get(CONDITION) == condition]
        scenarios = {results.traces[i].scenario.clean_id: [asdict(score) for score in results.scores[i]] for i in heard}
        totals = [asdict(score) for score in results.totals if score.metric in metrics]
        groups = {results.traces[i].scenario.clean_id: results.traces[i].scenario.group for i in heard}
        items = tuple(SnapshotItem(name, groups[name]) for name in scenarios)
        return cls(condition, results.run, items, _columns({"totals": totals, "scenarios": scenarios}, list(scenarios)))

    def to_json(self) -> dict[str, Any]:
        items = [{"id": i.id, "group": i.group, "asked": i.asked, "texts": dict(i.texts)} for i in self.items]
        columns = {name: column.to_json() for name, column in self.columns.items()}
        return {"version": VERSION, "run": dict(self.run), "items": items, "columns": columns}

    @classmethod
    def from_json(cls, name: str, data: Any) -> Snapshot:
        """The snapshot that `to_json` wrote. Raises `FobenchError` for other data or another version."""
        version = data.get("version", VERSION) if isinstance(data, Mapping) else VERSION
        if version != VERSION:
            raise FobenchError(f"{name} is a baseline of version {version!r}, not {VERSION}: save it again.")
        try:
            file = outside_files.record(BaselineFile, data)
            if wrong := record_error(file.run):
                raise ValueError(f"run: {wrong}")
            if len({item.id for item in file.items}) < len(file.items):
                raise ValueError("items has an id twice")
            columns = {}
            for metric, column in file.columns.items():
                try:
                    columns[metric] = ScoreColumn.from_file(column, len(file.items))
                except ValueError as error:
                    raise ValueError(f"columns.{metric} {error}") from error
        except ValueError as error:
            raise FobenchError(f"{name} is not a baseline: {error}. fobench baseline save writes one.") from error
        return cls(name, file.run, file.items, columns)


def with_unique_names(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """The snapshots with unique names: those that share one get the path of their folder."""
    names = [snapshot.name for snapshot in snapshots]
    distinct = [s.name if names.count(s.name) == 1 else str(s.folder or s.name) for s in snapshots]
    return [replace(s, name=name) for s, name in zip(snapshots, distinct, strict=True)]


def _traces(folder: Path) -> tuple[dict[str, SnapshotItem], str | None]:
    """{id: item} of the traces in the folder, read one at a time; and the latency profile that the traces record."""
    items: dict[str, SnapshotItem] = {}
    costs = None
    for record, trace in RunFolder(folder).records(
        EventKind.TRANSCRIPT
    ):  # takes a tenth of the time of reading all events
        items[trace.id] = SnapshotItem(trace.id, trace.scenario.group, _scenario_hash(record["scenario"]), texts(trace))
        costs = trace.costs
    return items, costs


def _scenario_hash(scenario: Mapping[str, Any]) -> str:
    """A hash of the scenario, independent of its audio path and the run's seed; unused options do not count."""
    turns = [{**turn, "audio": ""} for turn in scenario["turns"]]
    plain = json.dumps(_drop_empty({**scenario, "seed": 0, "turns": turns}), sort_keys=True)
    return hashlib.sha256(plain.encode(errors=SURROGATES)).hexdigest()[:DIGITS]


def _drop_empty(value: Any) -> Any:
    """Plain data without values that are empty, 0, false or null."""
    if isinstance(value, Mapping):
        return {key: kept for key, item in value.items() if (kept := _drop_empty(item))}
    return [_drop_empty(item) for item in value] if isinstance(value, list) else value


def texts(trace: Trace) -> dict[str, str]:
    """The texts of a scenario, where present: prompt, answers, ASR transcript, reply, its reference-ASR transcript, failure."""
    question = trace.scenario.question
    found = {
        "asked": question.text if question else None,
        "accepted": " / ".join(trace.scenario.expect.answers),
        "understood": trace.transcript(),
        "wrote": trace.answer.said if trace.answer else None,
        "spoke": trace.judge.get("reply"),
        "failure": f"{trace.failure.kind}: {trace.failure.message}" if trace.failure else None,
    }
    return {name: text for name, text in found.items() if text}


def _group(scores: Sequence[Mapping[str, Any]], default: str) -> str:
    return next((str(score["detail"]["group"]) for score in scores if "group" in score["detail"]), default)


def _columns(data: Mapping[str, Any], ids: Sequence[str]) -> dict[str, ScoreColumn]:
    """{metric: column} of the metrics with a total."""
    totals = {total["metric"]: total for total in data["totals"] if total["value"] is not None}
    rows: dict[str, list[tuple[int, float, float]]] = {}
    distributions = set()
    for index, name in enumerate(ids):
        for score in data["scenarios"][name]:
            if score["metric"] not in totals or score["value"] is None:
                continue
            rows.setdefault(score["metric"], []).extend(
                (index, numerator, denominator) for numerator, denominator in _parts(score)
            )
            if "values_ms" in score["detail"]:
                distributions.add(score["metric"])
    found = {
        metric: _column(totals[metric], rows[metric], metric in distributions) for metric in totals if metric in rows
    }
    derived = [metric for metric in totals if metric in DERIVED and found.keys() >= {*DERIVED[metric]}]
    return {**found, **{metric: _derived(metric, found, totals[metric]) for metric in derived}}


def _parts(score: Mapping[str, Any]) -> Iterator[tuple[float, float]]:
    """A scenario's numerators and denominators of the run's ratio; a plugin's metric may give them in detail `parts`."""
    detail, value = score["detail"], score["value"]
    if "values_ms" in detail:
        yield from ((each, 1.0) for each in detail["values_ms"])
    elif "parts" in detail:
        yield tuple(map(float, detail["parts"]))  # type: ignore[misc]  # two numbers
    elif "sounds" in detail:
        yield sum(bool(sound["yielded"]) for sound in detail["sounds"]), len(detail["sounds"])
    elif size := next((key for key in ("ref_words", "ref_chars") if key in detail), None):
        yield sum(detail[key] for key in EDITS), detail[size]
    elif "media_ns" in detail:
        yield detail["compute_ns"], detail["media_ns"]
    else:
        yield value, detail.get("replies", 1)


def _column(total: Mapping[str, Any], rows: Sequence[tuple[int, float, float]], is_distribution: bool) -> ScoreColumn:
    items, numerators, denominators = zip(*rows, strict=True)
    arrays = (
        np.asarray(items, dtype=np.int64),
        np.asarray(numerators, dtype=float),
        np.asarray(denominators, dtype=float),
    )
    return ScoreColumn(total["version"], total["unit"], total["better"], is_distribution, *arrays)


def _derived(metric: str, columns: Mapping[str, ScoreColumn], total: Mapping[str, Any]) -> ScoreColumn:
    """The column of a parity or a loss, over the items with scores on both routes."""
    tested, reference = (columns[name] for name in DERIVED[metric])
    items, first, second = np.intersect1d(tested.items, reference.items, return_indices=True)
    numerators, denominators = tested.numerators[first], reference.numerators[second]
    if total["unit"] == "points":
        numerators, denominators = PERCENT * (denominators - numerators), np.ones(len(items))
    return ScoreColumn(
        total["version"], total["unit"], total["better"], False, items.astype(np.int64), numerators, denominators
    )


def _int_if_whole(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value
