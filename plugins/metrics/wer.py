"""Word and character error rates: `understanding_wer`, `speech_text_wer`, `speech_text_cer`, `judge_floor_wer`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jiwer

from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import NS_PER_MS, EventKind, Score
from fobench.scoring.text_normalization import normalise
from fobench.statistics.bootstrap import blocks, bootstrap_ratio
from fobench_plugins.metrics.aggregation import failed, given, groups, known, missing, no_total, total

UNHEARD_NS = 20 * NS_PER_MS  # a reply of which less than a frame was not played was heard to its end
EMPTY = "empty reference"
EDITS = ("substitutions", "deletions", "insertions")

Texts = tuple[str, str]  # reference, hypothesis
Source = Callable[[Trace], Texts | str]  # ... or why there are none


class ErrorRate:
    """(S + D + I) / N, pooled over utterances, both sides normalised by Whisper's English normaliser; jiwer aligns.

    A reference that normalises to nothing is left out and counted (`n_empty_ref`). The 95 % interval is a bootstrap blocked
    by group (the speaker), or by utterance where there are fewer than 10 groups: `blocked_by` says which.
    """

    version = 1
    unit = "ratio"
    better: Literal["higher", "lower", "none"] = "lower"

    def __init__(self, name: str, source: Source, per: Literal["words", "chars"] = "words") -> None:
        self.name, self.source, self.per = name, source, per

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed(self, trace)
        texts = self.source(trace)
        if isinstance(texts, str):
            return missing(self, texts, scenario)
        reference, hypothesis = map(normalise, texts)
        if not reference:
            return missing(self, EMPTY, scenario)
        counts = align(reference, hypothesis, self.per)
        return given(self, errors(counts) / counts[f"ref_{self.per}"], scenario, **counts)

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        found, n_empty = known(scores), sum(score.reason == EMPTY for score in scores)
        if not found:
            return [no_total(self, scores, n_empty_ref=n_empty)]
        size = f"ref_{self.per}"
        wrong, lengths = [errors(s.detail) for s in found], [s.detail[size] for s in found]
        parts = blocks(groups(found), len(found))
        sums = {key: sum(s.detail[key] for s in found) for key in (*EDITS, size)}
        ci = bootstrap_ratio(wrong, lengths, groups(found))
        spread = {"n_empty_ref": n_empty, "blocked_by": parts.unit, "n_blocks": parts.count}
        return [total(self, sum(wrong) / sum(lengths), len(found), scores, ci, **sums, **spread)]


def align(reference: str, hypothesis: str, per: Literal["words", "chars"] = "words") -> dict[str, int]:
    """Edits that turn the reference into the hypothesis, and the reference's length."""
    out = (jiwer.process_words if per == "words" else jiwer.process_characters)(reference, hypothesis)
    counts = {key: int(getattr(out, key)) for key in EDITS}
    return {**counts, f"ref_{per}": out.hits + out.substitutions + out.deletions}


def errors(counts: Any) -> int:
    return sum(counts[key] for key in EDITS)


def understanding(trace: Trace) -> Texts | str:
    """Reference text of the question, and the system's own transcript of it."""
    reference = question_text(trace)
    heard = question_transcript(trace)
    if reference is None or heard is None:
        return "the question has no reference text" if reference is None else "the system reports no transcript"
    return reference, heard


def judge_floor(trace: Trace) -> Texts | str:
    """Reference text of the question, and what the judge heard in its clean audio: the judge's own error."""
    reference = question_text(trace)
    if reference is None:
        return "the question has no reference text"
    return (reference, trace.judge["floor"] or "") if "floor" in trace.judge else "the judge was not run"


def speech_text(trace: Trace) -> Texts | str:
    """What the system wrote in its reply to the question, and what the judge heard of that reply.

    The judge hears what the listener heard, so a reply cut short is left out: its text goes on where its sound stops.
    """
    answer = trace.answer
    if answer is None:
        return "no reply"
    if answer.stopped_ns is not None:
        return "reply was interrupted"
    if answer.heard_ns < answer.generated_ns - UNHEARD_NS:
        return "reply was not played to its end"
    if not answer.text.strip():
        return "the system reports no text"
    return (answer.text, trace.judge["reply"] or "") if "reply" in trace.judge else "the judge was not run"


def question_text(trace: Trace) -> str | None:
    """The reference text of the question as asked, else of the scenario's."""
    turn = trace.scenario.turns[trace.question.turn] if trace.question else trace.scenario.question
    return turn.text if turn else None


def question_transcript(trace: Trace) -> str | None:
    """The system's transcript of all it heard or, after earlier turns, of what it reported since the question began."""
    if len(trace.user) < 2 or not trace.question:
        return trace.transcript()
    since = trace.question.start_ns
    late = [e for e in trace.of(EventKind.TRANSCRIPT) if e.compute_ns is not None and e.compute_ns >= since]
    return " ".join(str(event.data["text"]) for event in late) if late else None
