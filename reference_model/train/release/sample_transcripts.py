"""Transcripts of the first recordings of a run, without selection: question, ASR transcript, reply, and transcript of
the reply.
"""

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
COUNT = 10
LICENSE = re.compile(r"licen[cs]e: *(.+)", re.IGNORECASE)
PERMISSIVE = re.compile(r"CC BY \d|CC0|public domain|Apache|MIT|BSD", re.IGNORECASE)
RESTRICTED = re.compile(r"\b(NC|ND|SA)\b|share-?alike|non-?commercial|no-?derivatives|research use", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SampleTranscript:
    """Texts of one recording; a missing text is empty."""

    id: str
    question: str
    asr_transcript: str
    reply: str
    reply_transcript: str  # by the reference ASR


def first_recordings(run: Results, count: int = COUNT) -> list[SampleTranscript]:
    """Returns the first `count` recordings in the manifest's order.

    Raises FobenchError for a run with selected or shuffled recordings, or with fewer than `count`.
    """
    config = run.run.get("config") or {}
    shuffled = any(key.rpartition(":")[2] == "shuffle" for key in config.get("suite_args") or {})
    if config.get("sample_ids") or shuffled:
        raise FobenchError(f"{run.folder} has selected or shuffled recordings: run it without --sample-id and shuffle.")
    wanted = list(run.run.get("scenarios") or ())[:count]
    traces = {trace.id: trace for trace in run.traces}
    if len(wanted) < count or any(name not in traces for name in wanted):
        raise FobenchError(
            f"{run.folder} has fewer than {count} recordings: run it with --limit {count} or more, to its end."
        )
    return [_transcripts(traces[name]) for name in wanted]


def _transcripts(trace: Trace) -> SampleTranscript:
    question = trace.scenario.question.text if trace.scenario.question else None
    texts = (question, trace.transcript(), trace.answer.text if trace.answer else None, trace.judge.get("reply"))
    return SampleTranscript(trace.id, *(" ".join((text or "").split()) for text in texts))


def source(run: Results) -> tuple[str, str]:
    """Returns (name of the data set, its license as stated in SOURCE.txt in the manifest's folder).

    Raises FobenchError if there is no license, or none that permits redistribution of the texts.
    """
    folder = _folder(run.run.get("config") or {})
    try:
        text = (folder / "SOURCE.txt").read_text(encoding="utf-8")
    except OSError as error:
        raise FobenchError(
            f"The license of {folder.name} cannot be read ({error}): its texts cannot be in the card."
        ) from error
    licenses = [match.strip() for match in LICENSE.findall(text)]
    if not licenses or not PERMISSIVE.search(licenses[-1]) or RESTRICTED.search(licenses[-1]):
        stated = licenses[-1] if licenses else "none is stated"
        raise FobenchError(f"The license of {folder.name} does not permit free redistribution of its texts: {stated}")
    return folder.name, licenses[-1]


def _folder(config: Mapping[str, Any]) -> Path:
    """Returns the folder of the manifest of a run's configuration."""
    target = Path(str((config.get("suites") or [""])[0]).removeprefix(RECORDINGS)).expanduser()
    return target if target.is_dir() else target.parent
