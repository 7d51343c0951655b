"""The first recordings of a run, unselected, in words: what was asked, understood, answered, and heard in the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fobench.api.results import Results
from fobench.api.trace import Trace
from fobench.errors import FobenchError

RECORDINGS = "manifest:"
MANY = 10
LICENCE = re.compile(r"licen[cs]e: *(.+)", re.IGNORECASE)
FREE = re.compile(r"CC BY \d|CC0|public domain|Apache|MIT|BSD", re.IGNORECASE)
BOUND = re.compile(r"\b(NC|ND|SA)\b|share-?alike|non-?commercial|no-?derivatives|research use", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SampleTranscript:
    """One recording. An empty text: there was none."""

    id: str
    asked: str
    understood: str
    answered: str
    heard: str


def first(run: Results, many: int = MANY) -> list[SampleTranscript]:
    """The first recordings in the manifest's order. Raises FobenchError where the run chose others, or has not come to them."""
    config = run.run.get("config") or {}
    shuffled = any(key.rpartition(":")[2] == "shuffle" for key in config.get("suite_args") or {})
    if config.get("sample_ids") or shuffled:
        raise FobenchError(f"{run.folder} is of chosen or shuffled recordings: run it without --sample-id and shuffle.")
    wanted = list(run.run.get("scenarios") or ())[:many]
    traces = {trace.id: trace for trace in run.traces}
    if len(wanted) < many or any(name not in traces for name in wanted):
        raise FobenchError(f"{run.folder} has no {many} recordings: run it with --limit {many} or more, to its end.")
    return [_heard(traces[name]) for name in wanted]


def _heard(trace: Trace) -> SampleTranscript:
    asked = trace.scenario.question.text if trace.scenario.question else None
    texts = (asked, trace.transcript(), trace.answer.text if trace.answer else None, trace.judge.get("reply"))
    return SampleTranscript(trace.id, *(" ".join((text or "").split()) for text in texts))


def source(run: Results) -> tuple[str, str]:
    """(name of the set, its licence, in the words of the SOURCE.txt beside the manifest).

    Raises FobenchError where there is none, or where it does not let the texts be passed on freely.
    """
    place = _folder(run.run.get("config") or {})
    try:
        text = (place / "SOURCE.txt").read_text(encoding="utf-8")
    except OSError as error:
        raise FobenchError(
            f"The licence of {place.name} cannot be read ({error}): its texts stay out of the card."
        ) from error
    found = [match.strip() for match in LICENCE.findall(text)]
    if not found or not FREE.search(found[-1]) or BOUND.search(found[-1]):
        told = found[-1] if found else "none is named"
        raise FobenchError(f"The licence of {place.name} does not let its texts be passed on freely: {told}")
    return place.name, found[-1]


def _folder(config: Mapping[str, Any]) -> Path:
    target = Path(str((config.get("suites") or [""])[0]).removeprefix(RECORDINGS)).expanduser()
    return target if target.is_dir() else target.parent
