"""The items that changed between two runs: lost answers first, then gained ones, then those heard worse or later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fobench.api.trace import Trace
from fobench.comparison import Comparison
from fobench.comparison.paired_scores import PairedScores
from fobench.comparison.snapshot import Snapshot, SnapshotItem
from fobench.statistics.bootstrap import Floats
from fobench.storage.run_folder import RunFolder
from fobench_plugins.reporters.views.audio_clips import AudioPlayer, players
from fobench_plugins.reporters.views.formatting import legal, line, shown
from fobench_plugins.reporters.views.metric_labels import FIGURES, kind_of

ANSWERS = ("accuracy_s2s", "accuracy_s2t")  # the first that is compared decides what is lost and gained
WORDS = ("understanding_wer", "speech_text_wer")
TIME = "response_ms"
LATER = 0.2  # of what it was: a reply that comes so much later is worth a look
KINDS = ("lost", "gained", "worse", "later", "better", "sooner")  # in this order
SAID = {
    "asked": "Asked",
    "accepted": "Accepted",
    "understood": "Understood",
    "wrote": "Wrote",
    "spoke": "Judge heard",
    "failure": "Failure",
}
SILENT = AudioPlayer()


@dataclass(frozen=True, slots=True)
class SpokenText:
    """What was said on one side; `changed`: not the same on the other."""

    label: str
    text: str
    changed: bool


@dataclass(frozen=True, slots=True)
class ChangedItem:
    """A scenario whose outcome is not the same; `figures`: (label, before, now) of what changed."""

    id: str
    kind: str
    size: float  # of the change, within its kind
    question: str
    figures: tuple[tuple[str, str, str], ...]
    before: tuple[SpokenText, ...]
    now: tuple[SpokenText, ...]
    sound_before: AudioPlayer = SILENT
    sound_now: AudioPlayer = SILENT


def changed_items(comparison: Comparison) -> list[ChangedItem]:
    """All that changed, the worst first."""
    tables = {metric: pairs.values(len(comparison.ids)) for metric, pairs in comparison.pairs.items()}
    sides = [{item.id: item for item in run.items} for run in (comparison.base, comparison.new)]
    found = []
    for index, name in enumerate(comparison.ids):
        kind, size = _kind(tables, index)
        if kind:
            figures = _figures(tables, comparison.pairs, index)
            found.append(_item(kind, size, sides[0][name], sides[1][name], figures))
    return sorted(found, key=lambda item: (KINDS.index(item.kind), -item.size))


def heard(items: Sequence[ChangedItem], comparison: Comparison, budget_bytes: int) -> list[ChangedItem]:
    """The items with the sound of both runs, embedded up to the budget, where the runs' folders still hold it."""
    before, now = (
        _sounds(run, [item.id for item in items], budget_bytes // 2) for run in (comparison.base, comparison.new)
    )
    return [replace(i, sound_before=b, sound_now=n) for i, b, n in zip(items, before, now, strict=True)]


def _sounds(run: Snapshot, ids: Sequence[str], budget_bytes: int) -> list[AudioPlayer]:
    if run.folder is None:
        return [AudioPlayer(why="a baseline keeps no audio")] * len(ids)
    traces = _traces(run.folder, set(ids))
    made = iter(players([traces[name] for name in ids if name in traces], run.folder, budget_bytes))
    return [next(made) if name in traces else AudioPlayer(why="no trace was kept") for name in ids]


def _traces(folder: Path, ids: set[str]) -> dict[str, Trace]:
    return {trace.id: trace for trace in RunFolder(folder).traces() if trace.id in ids}


def _kind(tables: Mapping[str, Floats], index: int) -> tuple[str, float]:
    """Why an item is worth a look, and how much; empty if it is not."""
    answer = next(iter(_steps(tables, ANSWERS, index)), 0.0)
    words = max(_steps(tables, WORDS, index), key=abs, default=0.0)
    late = next(iter(_steps(tables, (TIME,), index)), 0.0)
    if answer:
        return ("lost" if answer < 0 else "gained"), abs(answer)
    if words:
        return ("worse" if words > 0 else "better"), abs(words)
    if late and abs(late) > LATER * abs(tables[TIME][index, 0]):
        return ("later" if late > 0 else "sooner"), abs(late)
    return "", 0.0


def _steps(tables: Mapping[str, Floats], metrics: Sequence[str], index: int) -> list[float]:
    """new - base of those of the metrics that have a value in both."""
    steps = (tables[metric][index, 1] - tables[metric][index, 0] for metric in metrics if metric in tables)
    return [float(step) for step in steps if np.isfinite(step)]


def _figures(
    tables: Mapping[str, Floats], pairs: Mapping[str, PairedScores], index: int
) -> tuple[tuple[str, str, str], ...]:
    found = []
    for metric in (*ANSWERS, *WORDS, TIME):
        before, now = tables[metric][index].tolist() if metric in tables else (0.0, 0.0)
        if before != now and np.isfinite([before, now]).all():
            found.append((FIGURES[metric].label, *(_shown(metric, pairs[metric], value) for value in (before, now))))
    return tuple(found)


def _shown(metric: str, pairs: PairedScores, value: float) -> str:
    if metric in ANSWERS and value in (0.0, 1.0):
        return "right" if value else "wrong"
    return shown(value, kind_of(metric, pairs.new.unit), pairs.new.unit)


def _item(
    kind: str, size: float, base: SnapshotItem, new: SnapshotItem, figures: tuple[tuple[str, str, str], ...]
) -> ChangedItem:
    question = line(new.texts.get("asked") or base.texts.get("asked") or new.id)
    before, now = _said(base, new), _said(new, base)
    return ChangedItem(line(new.id), kind, size, question, figures, before, now)


def _said(item: SnapshotItem, other: SnapshotItem) -> tuple[SpokenText, ...]:
    texts = ((key, item.texts[key]) for key in SAID if key in item.texts and key != "asked")
    return tuple(SpokenText(SAID[key], legal(text), text != other.texts.get(key)) for key, text in texts)
