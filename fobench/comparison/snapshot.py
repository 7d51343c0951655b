"""A snapshot: what a comparison needs of a run. Its facts, and each metric's scores item by item; no trace, no sound.

It is read from a run's folder (scores.json, run.json, and traces.jsonl for the texts) or from a baseline's file, which holds
nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fobench.api.trace import Trace
from fobench.api.types import EventKind
from fobench.errors import FobenchError, PrerequisiteError
from fobench.scoring.scorer import SCORES
from fobench.scoring.scorer import VERSION as SCORES_VERSION
from fobench.statistics.bootstrap import Floats, Ints
from fobench.storage.run_folder import HALVES, RunFolder

VERSION = 1
DIGITS = 12  # of a hash
EDITS = ("substitutions", "deletions", "insertions")
DERIVED = {  # metrics of a run that have no score of one item: (tested, reference), whose items are paired
    "parity_a2t2t": ("accuracy_a2t2t", "accuracy_t2t"),
    "parity_s2t": ("accuracy_s2t", "accuracy_t2t"),
    "parity_s2s": ("accuracy_s2s", "accuracy_t2t"),
    "loss_understanding": ("accuracy_s2t", "accuracy_t2t"),
    "loss_speaking": ("accuracy_s2s", "accuracy_s2t"),
}
POINTS = 100.0


@dataclass(frozen=True, slots=True)
class SnapshotItem:
    """A scenario as a run had it. `asked`: a hash of what was asked, empty where there is no trace. `texts`: what was said."""

    id: str
    group: str
    asked: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScoreColumn:
    """One metric's scores. Row i is of item `items[i]` and has the value `tops[i] / bottoms[i]`; all arrays are [rows].

    The run's figure is sum(tops) / sum(bottoms), or, of a `spread`, the percentiles of the values (an item may have several).
    """

    version: int
    unit: str
    better: str
    spread: bool
    items: Ints
    tops: Floats
    bottoms: Floats

    def to_json(self) -> dict[str, Any]:
        facts = {"version": self.version, "unit": self.unit, "better": self.better, "spread": self.spread}
        arrays = {"items": self.items, "tops": self.tops, "bottoms": self.bottoms}
        return {**facts, **{name: [_short(value) for value in array.tolist()] for name, array in arrays.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ScoreColumn:
        """Raises `ValueError` where its rows are not whole."""
        tops, bottoms = (np.asarray(data[name], dtype=float) for name in ("tops", "bottoms"))
        items = np.asarray(data["items"], dtype=np.int64)
        if not tops.shape == bottoms.shape == (len(items),) or not np.isfinite([tops, bottoms]).all():
            raise ValueError("a column has not as many finite tops and bottoms as items")
        return cls(**{**data, "tops": tops, "bottoms": bottoms, "items": items})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`run`: run.json without its scenarios' names. `folder`: where the traces and the sound lie, None of a baseline."""

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
        """Of a scored run. Raises `PrerequisiteError` if it has yet to be scored, by this version."""
        run, data = RunFolder(folder).read_run(), _read_scores(folder)
        traces, costs = _traces(folder)
        facts = {**{key: value for key, value in run.items() if key != "scenarios"}, "costs": costs or run.get("costs")}
        try:
            ids = [name for name in run.get("scenarios") or data["scenarios"] if name in data["scenarios"]]
            items = tuple(traces.get(name) or SnapshotItem(name, _group(data["scenarios"][name], name)) for name in ids)
            return cls(folder.name, facts, items, _columns(data, ids), folder)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _unscored(folder, f"is not what scoring writes ({error!r})") from error

    def to_json(self) -> dict[str, Any]:
        items = [{"id": i.id, "group": i.group, "asked": i.asked, "texts": dict(i.texts)} for i in self.items]
        columns = {name: column.to_json() for name, column in self.columns.items()}
        return {"version": VERSION, "run": dict(self.run), "items": items, "columns": columns}

    @classmethod
    def from_json(cls, name: str, data: Any) -> Snapshot:
        """Raises `FobenchError` for what is no snapshot, or one of another version."""
        try:
            if data["version"] != VERSION:
                raise FobenchError(
                    f"{name} is a baseline of version {data['version']!r}, not {VERSION}: save it again."
                )
            items = tuple(SnapshotItem(**item) for item in data["items"])
            columns = {metric: ScoreColumn.from_json(column) for metric, column in data["columns"].items()}
            if any(len(c.items) and not 0 <= c.items.min() <= c.items.max() < len(items) for c in columns.values()):
                raise ValueError("a column has rows of items that are not there")
            return cls(name, dict(data["run"]), items, columns)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise FobenchError(f"{name} is not a baseline: {error!r}. fobench baseline save writes one.") from error


def named(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """The snapshots with names that tell them apart."""
    names = [snapshot.name for snapshot in snapshots]
    told = [s.name if names.count(s.name) == 1 else str(s.folder or s.name) for s in snapshots]
    return [replace(s, name=name) for s, name in zip(snapshots, told, strict=True)]


def _read_scores(folder: Path) -> dict[str, Any]:
    try:
        data = json.loads((folder / SCORES).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PrerequisiteError(f"{folder} has no scores yet. Score it: fobench score {folder}") from error
    except (OSError, ValueError) as error:
        raise _unscored(folder, f"cannot be read ({error})") from error
    found = data.get("version") if isinstance(data, dict) else None
    if found != SCORES_VERSION:
        raise _unscored(folder, f"has version {found!r}, not {SCORES_VERSION}")
    return dict(data)


def _unscored(folder: Path, why: str) -> PrerequisiteError:
    return PrerequisiteError(f"{folder / SCORES} {why}. Score it again: fobench score {folder}")


def _traces(folder: Path) -> tuple[dict[str, SnapshotItem], str | None]:
    """{id: item} of what the folder has traces of, one read at a time; and the costs as the traces tell them."""
    items: dict[str, SnapshotItem] = {}
    costs = None
    for record, trace in RunFolder(folder).records(EventKind.TRANSCRIPT):  # a tenth of the time that all events take
        items[trace.id] = SnapshotItem(trace.id, trace.scenario.group, _asked(record["scenario"]), texts(trace))
        costs = trace.costs
    return items, costs


def _asked(scenario: Mapping[str, Any]) -> str:
    """A hash of what was asked, wherever its audio lies and whatever the run's seed; options that are not used do not count."""
    turns = [{**turn, "audio": ""} for turn in scenario["turns"]]
    plain = json.dumps(_used({**scenario, "seed": 0, "turns": turns}), sort_keys=True)
    return hashlib.sha256(plain.encode(errors=HALVES)).hexdigest()[:DIGITS]


def _used(value: Any) -> Any:
    """Plain data without what is empty, 0, false or null."""
    if isinstance(value, Mapping):
        return {key: used for key, item in value.items() if (used := _used(item))}
    return [_used(item) for item in value] if isinstance(value, list) else value


def texts(trace: Trace) -> dict[str, str]:
    """What was asked, understood, written and heard in a scenario; why it failed. Without what there is none of."""
    question = trace.scenario.question
    told = {
        "asked": question.text if question else None,
        "accepted": " / ".join(trace.scenario.expect.answers),
        "understood": trace.transcript(),
        "wrote": trace.answer.text if trace.answer else None,
        "spoke": trace.judge.get("reply"),
        "failure": f"{trace.failure.kind}: {trace.failure.message}" if trace.failure else None,
    }
    return {name: text for name, text in told.items() if text}


def _group(scores: Sequence[Mapping[str, Any]], default: str) -> str:
    return next((str(score["detail"]["group"]) for score in scores if "group" in score["detail"]), default)


def _columns(data: Mapping[str, Any], ids: Sequence[str]) -> dict[str, ScoreColumn]:
    """A column for each metric that the run has a total of."""
    totals = {total["metric"]: total for total in data["totals"] if total["value"] is not None}
    rows: dict[str, list[tuple[int, float, float]]] = {}
    spread = set()
    for index, name in enumerate(ids):
        for score in data["scenarios"][name]:
            if score["metric"] not in totals or score["value"] is None:
                continue
            rows.setdefault(score["metric"], []).extend((index, top, bottom) for top, bottom in _parts(score))
            if "values_ms" in score["detail"]:
                spread.add(score["metric"])
    found = {metric: _column(totals[metric], rows[metric], metric in spread) for metric in totals if metric in rows}
    derived = [metric for metric in totals if metric in DERIVED and found.keys() >= {*DERIVED[metric]}]
    return {**found, **{metric: _derived(metric, found, totals[metric]) for metric in derived}}


def _parts(score: Mapping[str, Any]) -> Iterator[tuple[float, float]]:
    """What a scenario adds to the sums whose ratio is the run's figure; a plugin's metric may name them in detail `parts`."""
    detail, value = score["detail"], score["value"]
    if "values_ms" in detail:
        yield from ((each, 1.0) for each in detail["values_ms"])
    elif "parts" in detail:
        yield tuple(map(float, detail["parts"]))  # type: ignore[misc]
    elif "sounds" in detail:
        yield sum(bool(sound["yielded"]) for sound in detail["sounds"]), len(detail["sounds"])
    elif size := next((key for key in ("ref_words", "ref_chars") if key in detail), None):
        yield sum(detail[key] for key in EDITS), detail[size]
    elif "media_ns" in detail:
        yield detail["compute_ns"], detail["media_ns"]
    else:
        yield value, detail.get("replies", 1)


def _column(total: Mapping[str, Any], rows: Sequence[tuple[int, float, float]], spread: bool) -> ScoreColumn:
    items, tops, bottoms = zip(*rows, strict=True)
    arrays = np.asarray(items, dtype=np.int64), np.asarray(tops, dtype=float), np.asarray(bottoms, dtype=float)
    return ScoreColumn(total["version"], total["unit"], total["better"], spread, *arrays)


def _derived(metric: str, columns: Mapping[str, ScoreColumn], total: Mapping[str, Any]) -> ScoreColumn:
    """A parity or a loss, over the items that both its routes are judged on."""
    tested, reference = (columns[name] for name in DERIVED[metric])
    items, first, second = np.intersect1d(tested.items, reference.items, return_indices=True)
    tops, bottoms = tested.tops[first], reference.tops[second]
    if total["unit"] == "points":
        tops, bottoms = POINTS * (bottoms - tops), np.ones(len(items))
    return ScoreColumn(total["version"], total["unit"], total["better"], False, items.astype(np.int64), tops, bottoms)


def _short(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value
