"""How a scenario ended, in one word: failed, wrong, right or not scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fobench.api.results import Results
from fobench.api.trace import Trace
from fobench.api.types import Score
from fobench_plugins.reporters.views.formatting import given, line
from fobench_plugins.reporters.views.metric_labels import FIGURES

ANSWERS = ("accuracy_s2s", "accuracy_s2t")  # the first that has a value decides
# In duplex scenarios all of these count.
BEHAVIOURS = ("turn_success", "yield_rate", "false_yield_rate", "pause_takeover_rate", "interrupts_user_rate")
PLAIN = "question"  # the family of scenarios that are judged by their answer alone


class Outcome(StrEnum):
    """In the order in which a report lists them."""

    FAILED = "failed"
    WRONG = "wrong"
    UNSCORED = "not scored"
    RIGHT = "right"


@dataclass(frozen=True, slots=True)
class OutcomeLine:
    """An outcome and its reason in one line."""

    outcome: Outcome
    why: str


def verdict(trace: Trace, scores: Sequence[Score]) -> OutcomeLine:
    """Failed traces first; then the answer, as spoken or else as written; in duplex scenarios the turn-taking as well."""
    if trace.failure:
        return OutcomeLine(Outcome.FAILED, line(f"{trace.failure.kind}: {trace.failure.message}"))
    known = {score.metric: score for score in scores}
    deciding = _deciding(trace, known)
    if not deciding:
        reasons = (known[m].reason for m in ANSWERS if m in known)
        return OutcomeLine(Outcome.UNSCORED, line(next(filter(None, reasons), "no metric judges this scenario")))
    bad = next((score for score in deciding if not _good(score)), None)
    return OutcomeLine(Outcome.RIGHT, "") if bad is None else OutcomeLine(Outcome.WRONG, _why(trace, bad))


def _deciding(trace: Trace, known: Mapping[str, Score]) -> list[Score]:
    found = [known[metric] for metric in ANSWERS if given(known.get(metric)) is not None][:1]
    if found and trace.scenario.expect.family == PLAIN:
        return found
    return found + [known[metric] for metric in BEHAVIOURS if given(known.get(metric)) is not None]


def _good(score: Score) -> bool:
    value = given(score) or 0.0
    return value <= 0 if score.better == "lower" else value >= 1


def _why(trace: Trace, score: Score) -> str:
    if score.metric not in ANSWERS:
        return f"{FIGURES[score.metric].label.lower()}: {'no' if score.better == 'higher' else 'yes'}"
    spoken = score.metric == "accuracy_s2s"
    got = trace.judge.get("reply") if spoken else (trace.answer.text if trace.answer else None)
    expected = " / ".join(trace.scenario.expect.answers[:3]) or "no answer given"
    return line(f"expected {expected}; {'heard' if spoken else 'read'} {got or 'nothing'}")


def verdicts(results: Results) -> list[OutcomeLine]:
    """One a trace, in the traces' order."""
    return [verdict(trace, scores) for trace, scores in zip(results.traces, results.scores, strict=True)]


def counts(found: Sequence[OutcomeLine]) -> dict[Outcome, int]:
    return {outcome: sum(v.outcome == outcome for v in found) for outcome in Outcome}
