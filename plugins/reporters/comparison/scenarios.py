"""The scenarios that changed between two runs: lost answers, gained answers, then changes of WER and response latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fobench.api.trace import Trace
from fobench.comparison import Comparison
from fobench.comparison.paired_scores import PairedScores
from fobench.comparison.snapshot import Snapshot, SnapshotItem
from fobench.formatting import one_line, printable
from fobench.statistics.bootstrap import Floats
from fobench.storage.run_folder import RunFolder
from fobench_plugins.reporters.views.audio_clips import AudioPlayer, players
from fobench_plugins.reporters.views.formatting import metric_value
from fobench_plugins.reporters.views.metric_labels import METRICS, kind_of

ANSWERS = ("accuracy_s2s", "accuracy_s2t")  # the first that is compared defines lost and gained answers
WORDS = ("understanding_wer", "speech_text_wer")
TIME = "response_ms"
LATER = 0.2  # a relative change of response latency from which a scenario is listed
KINDS = ("lost", "gained", "worse", "later", "better", "sooner")  # in this order
TEXT_LABELS = {
    "asked": "Question",
    "accepted": "Accepted answers",
    "understood": "ASR transcript",
    "wrote": "Reply text",
    "spoke": "Reference-ASR transcript",
    "failure": "Failure",
}
SILENT = AudioPlayer()


@dataclass(frozen=True, slots=True)
class ItemText:
    """A text of one run; `changed`: different in the other run."""

    label: str
    text: str
    changed: bool


@dataclass(frozen=True, slots=True)
class ChangedItem:
    """A scenario whose scores changed; `figures`: (label, before, now) of each changed score."""

    id: str
    kind: str
    size: float  # of the change, within its kind
    question: str
    figures: tuple[tuple[str, str, str], ...]
    before: tuple[ItemText, ...]
    now: tuple[ItemText, ...]
    audio_before: AudioPlayer = SILENT
    audio_now: AudioPlayer = SILENT


def changed_items(comparison: Comparison) -> list[ChangedItem]:
    """All scenarios that changed, the worst first."""
    tables = {metric: pairs.values(len(comparison.ids)) for metric, pairs in comparison.pairs.items()}
    sides = [{item.id: item for item in run.items} for run in (comparison.base, comparison.new)]
    found = []
    for index, name in enumerate(comparison.ids):
        kind, size = _kind(tables, index)
        if kind:
            figures = _figures(tables, comparison.pairs, index)
            found.append(_item(kind, size, sides[0][name], sides[1][name], figures))
    return sorted(found, key=lambda item: (KINDS.index(item.kind), -item.size))


def with_audio(items: Sequence[ChangedItem], comparison: Comparison, budget_bytes: int) -> list[ChangedItem]:
    """The items with the audio of both runs, embedded up to the budget, where the run folders still hold it."""
    before, now = (
        _audio(run, [item.id for item in items], budget_bytes // 2) for run in (comparison.base, comparison.new)
    )
    return [replace(i, audio_before=b, audio_now=n) for i, b, n in zip(items, before, now, strict=True)]


def _audio(run: Snapshot, ids: Sequence[str], budget_bytes: int) -> list[AudioPlayer]:
    if run.folder is None:
        return [AudioPlayer(why="a baseline has no audio")] * len(ids)
    traces = _traces(run.folder, set(ids))
    loaded = iter(players([traces[name] for name in ids if name in traces], run.folder, budget_bytes))
    return [next(loaded) if name in traces else AudioPlayer(why="the run has no trace of it") for name in ids]


def _traces(folder: Path, ids: set[str]) -> dict[str, Trace]:
    return {trace.id: trace for trace in RunFolder(folder).traces() if trace.id in ids}


def _kind(tables: Mapping[str, Floats], index: int) -> tuple[str, float]:
    """The kind and size of an item's change; an empty kind if it is not listed."""
    answer = next(iter(_steps(tables, ANSWERS, index)), 0.0)
    words = max(_steps(tables, WORDS, index), key=abs, default=0.0)
    delay = next(iter(_steps(tables, (TIME,), index)), 0.0)
    if answer:
        return ("lost" if answer < 0 else "gained"), abs(answer)
    if words:
        return ("worse" if words > 0 else "better"), abs(words)
    if delay and abs(delay) > LATER * abs(tables[TIME][index, 0]):
        return ("later" if delay > 0 else "sooner"), abs(delay)
    return "", 0.0


def _steps(tables: Mapping[str, Floats], metrics: Sequence[str], index: int) -> list[float]:
    """new - base of those metrics that have a value in both runs."""
    steps = (tables[metric][index, 1] - tables[metric][index, 0] for metric in metrics if metric in tables)
    return [float(step) for step in steps if np.isfinite(step)]


def _figures(
    tables: Mapping[str, Floats], pairs: Mapping[str, PairedScores], index: int
) -> tuple[tuple[str, str, str], ...]:
    found = []
    for metric in (*ANSWERS, *WORDS, TIME):
        before, now = tables[metric][index].tolist() if metric in tables else (0.0, 0.0)
        if before != now and np.isfinite([before, now]).all():
            shown = _shown(metric, pairs[metric], before), _shown(metric, pairs[metric], now)
            found.append((METRICS[metric].label, *shown))
    return tuple(found)


def _shown(metric: str, pairs: PairedScores, value: float) -> str:
    if metric in ANSWERS and value in (0.0, 1.0):
        return "right" if value else "wrong"
    return metric_value(value, kind_of(metric, pairs.new.unit), pairs.new.unit)


def _item(
    kind: str, size: float, base: SnapshotItem, new: SnapshotItem, figures: tuple[tuple[str, str, str], ...]
) -> ChangedItem:
    question = one_line(new.texts.get("asked") or base.texts.get("asked") or new.id)
    before, now = _texts(base, new), _texts(new, base)
    return ChangedItem(one_line(new.id), kind, size, question, figures, before, now)


def _texts(item: SnapshotItem, other: SnapshotItem) -> tuple[ItemText, ...]:
    texts = ((key, item.texts[key]) for key in TEXT_LABELS if key in item.texts and key != "asked")
    return tuple(ItemText(TEXT_LABELS[key], printable(text), text != other.texts.get(key)) for key, text in texts)
