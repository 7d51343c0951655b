"""Word and character error rates: `understanding_wer`, `speech_text_wer`, `speech_text_cer`, `judge_floor_wer`, and the first two by
Whisper's normalizer, `..._wer_whisper`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jiwer

from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import NS_PER_MS, EventKind, Score
from fobench.scoring.text_normalization import NORMALIZER, WHISPER_NORMALIZER, normalize_as_whisper, normalize_for_wer
from fobench_plugins.metrics.aggregation import (
    failed_score,
    missing_score,
    missing_total,
    pooled_interval,
    scenario_score,
    scores_with_value,
    total,
)

PLAYBACK_TOLERANCE_NS = 20 * NS_PER_MS  # a reply that lacks less than one frame counts as played to its end
EMPTY_REFERENCE = "empty reference"
NO_TRANSCRIPT = "the system reports no transcript"
EDITS = ("substitutions", "deletions", "insertions")

Texts = tuple[str, str | None]  # reference, hypothesis: None of a turn that the system ignored
Source = Callable[[Trace], Texts | str]  # ... or the reason why they are missing


class ErrorRate:
    """Error rate (S + D + I) / N of words or characters, pooled over utterances; jiwer aligns.

    Both sides are normalized by `fobench-en-2` (`fobench.scoring.text_normalization`), where each digit of a number
    and each character of a script without blanks is a word, or with `normalizer` "whisper-en-1" by Whisper's English
    normalizer (Radford et al. 2022, arXiv 2212.04356, app. C), as published WERs are. A turn that the system ignored
    counts as all deletions (`n_ignored`). A reference that is empty after normalization is left out and counted
    (`n_empty_ref`). The 95 % interval is a bootstrap blocked by group (the speaker), or by utterance where there are
    fewer than 10 groups; `blocked_by` says which.
    """

    unit = "ratio"
    better: Literal["higher", "lower", "none"] = "lower"

    def __init__(
        self,
        name: str,
        source: Source,
        per: Literal["words", "chars"] = "words",
        normalizer: str = NORMALIZER,
        version: int = 2,
    ) -> None:
        self.name, self.source, self.per, self.normalizer, self.version = name, source, per, normalizer, version

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed_score(self, trace)
        texts = self.source(trace)
        if isinstance(texts, str):
            return missing_score(self, texts, scenario)
        reference, hypothesis = self._normalize(texts[0]), self._normalize(texts[1] or "", transcript=True)
        if not reference:
            return missing_score(self, EMPTY_REFERENCE, scenario)
        counts = align(reference, hypothesis, self.per)
        ignored = {"ignored": True} if texts[1] is None else {}
        return scenario_score(self, errors(counts) / counts[f"ref_{self.per}"], scenario, **counts, **ignored)

    def _normalize(self, text: str, transcript: bool = False) -> str:
        if self.normalizer == WHISPER_NORMALIZER:
            return normalize_as_whisper(text)
        return normalize_for_wer(text, transcript=transcript)

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        found = scores_with_value(scores)
        detail: dict[str, Any] = {
            "normalizer": self.normalizer,
            "n_empty_ref": sum(score.reason == EMPTY_REFERENCE for score in scores),
            "n_ignored": sum("ignored" in score.detail for score in found),
        }
        if not found:
            return [missing_total(self, scores, **detail)]
        if detail["n_ignored"] == len(found):  # nothing shows that the system reports transcripts at all
            return [missing_total(self, scores, NO_TRANSCRIPT, **detail)]
        size = f"ref_{self.per}"
        wrong, lengths = [errors(s.detail) for s in found], [s.detail[size] for s in found]
        sums = {key: sum(s.detail[key] for s in found) for key in (*EDITS, size)}
        ci, spread = pooled_interval(wrong, lengths, found)
        return [total(self, sum(wrong) / sum(lengths), len(found), scores, ci, **sums, **detail, **spread)]


def align(reference: str, hypothesis: str, per: Literal["words", "chars"] = "words") -> dict[str, int]:
    """Counts of substitutions, deletions and insertions of the minimum edit alignment, and the length of the
    reference.
    """
    if reference == hypothesis:
        size = len(reference.split() if per == "words" else reference)
        return {**dict.fromkeys(EDITS, 0), f"ref_{per}": size}
    out = (jiwer.process_words if per == "words" else jiwer.process_characters)(reference, hypothesis)
    counts = {key: int(getattr(out, key)) for key in EDITS}
    return {**counts, f"ref_{per}": out.hits + out.substitutions + out.deletions}


def errors(counts: Any) -> int:
    """Substitutions + deletions + insertions."""
    return sum(counts[key] for key in EDITS)


def user_speech_texts(trace: Trace) -> Texts | str:
    """`understanding_wer`: the reference text of the question, and the system's own ASR transcript of it.

    A question that was asked, but neither transcribed nor answered, was ignored. If it was answered without any
    transcript in the trace, the system reports none.
    """
    reference = question_text(trace)
    if reference is None:
        return "the question has no reference text"
    transcript = question_transcript(trace)
    if transcript is None:
        answer = trace.answer
        is_answered = answer is not None and (answer.audible_start_ns is not None or bool(answer.text.strip()))
        if not trace.question or (is_answered and trace.transcript() is None):
            return NO_TRANSCRIPT
    return reference, transcript


def clean_audio_texts(trace: Trace) -> Texts | str:
    """`judge_floor_wer`: the reference text of the question, and the reference ASR's transcript of its clean audio."""
    reference = question_text(trace)
    if reference is None:
        return "the question has no reference text"
    return (reference, trace.judge["floor"] or "") if "floor" in trace.judge else "the judge was not run"


def reply_speech_texts(trace: Trace) -> Texts | str:
    """`speech_text_wer`, `speech_text_cer`: the text of the reply to the question, and the reference ASR's transcript
    of its audio.

    The reference ASR gets the audio that was played. A reply that was cut short is left out, since its text continues
    beyond its audio.
    """
    answer = trace.answer
    if answer is None:
        return "no reply"
    if answer.stopped_ns is not None:
        return "reply was interrupted"
    if answer.heard_ns < answer.generated_ns - PLAYBACK_TOLERANCE_NS:
        return "reply was not played to its end"
    if not answer.text.strip():
        return "the system reports no text"
    return (answer.said, trace.judge["reply"] or "") if "reply" in trace.judge else "the judge was not run"


def question_text(trace: Trace) -> str | None:
    """The reference text of the question as it was asked, else of the scenario's question."""
    turn = trace.scenario.turns[trace.question.turn] if trace.question else trace.scenario.question
    return turn.text if turn else None


def question_transcript(trace: Trace) -> str | None:
    """The system's ASR transcript: of all user speech or, if there were earlier turns, of what it reported since the
    question began.
    """
    if len(trace.user) < 2 or not trace.question:
        return trace.transcript()
    since = trace.question.start_ns
    events = [e for e in trace.of(EventKind.TRANSCRIPT) if e.compute_ns is not None and e.compute_ns >= since]
    return " ".join(str(event.data["text"]) for event in events) if events else None
