"""The outcome of a scenario (failed, wrong, right or not scored), and of absolute limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fobench.api.results import LimitOutcome, Results
from fobench.api.trace import Trace
from fobench.api.types import Score
from fobench.formatting import one_line
from fobench_plugins.reporters.views.formatting import finite_value, metric_value
from fobench_plugins.reporters.views.metric_labels import kind_of
from fobench_plugins.reporters.views.tables import Table, TableRow

ANSWERS = ("accuracy_s2s", "accuracy_s2t")  # the first that has a value decides
BEHAVIORS = {  # in duplex scenarios all of these count; what is said of one that failed
    "turn_success": "turn-taking failed",
    "yield_rate": "kept talking over a barge-in",
    "false_yield_rate": "false barge-in",
    "pause_takeover_rate": "premature end of turn",
    "interrupts_user_rate": "false cut-in",
}
PLAIN = "question"  # the category of scenarios with an answer and no turn-taking test


class Outcome(StrEnum):
    """In the order in which a report lists them."""

    FAILED = "failed"
    WRONG = "wrong"
    UNSCORED = "not scored"
    RIGHT = "right"


@dataclass(frozen=True, slots=True)
class OutcomeLine:
    """An outcome and its reason on one line."""

    outcome: Outcome
    why: str


def verdict(trace: Trace, scores: Sequence[Score]) -> OutcomeLine:
    """Failure first, then the answer by speech, or by text where speech is not scored; duplex scenarios add turn-taking."""
    if trace.failure:
        return OutcomeLine(Outcome.FAILED, one_line(f"{trace.failure.kind}: {trace.failure.message}"))
    known = {score.metric: score for score in scores}
    deciding = _deciding(trace, known)
    if not deciding:
        reasons = (known[m].reason for m in ANSWERS if m in known)
        return OutcomeLine(Outcome.UNSCORED, one_line(next(filter(None, reasons), "no metric scores this scenario")))
    bad = next((score for score in deciding if not _good(score)), None)
    return OutcomeLine(Outcome.RIGHT, "") if bad is None else OutcomeLine(Outcome.WRONG, _why(trace, bad))


def _deciding(trace: Trace, known: Mapping[str, Score]) -> list[Score]:
    found = [known[metric] for metric in ANSWERS if finite_value(known.get(metric)) is not None][:1]
    if found and trace.scenario.expect.family == PLAIN:
        return found
    return found + [known[metric] for metric in BEHAVIORS if finite_value(known.get(metric)) is not None]


def _good(score: Score) -> bool:
    value = finite_value(score) or 0.0
    return value <= 0 if score.better == "lower" else value >= 1


def _why(trace: Trace, score: Score) -> str:
    if score.metric not in ANSWERS:
        return BEHAVIORS[score.metric]
    spoken = score.metric == "accuracy_s2s"
    actual = trace.judge.get("reply") if spoken else (trace.answer.said if trace.answer else None)
    expected = " / ".join(trace.scenario.expect.answers[:3]) or "no accepted answer"
    return one_line(f"expected {expected}; {'spoken' if spoken else 'written'}: {actual or 'nothing'}")


def verdicts(results: Results) -> list[OutcomeLine]:
    """One per trace, in the order of the traces."""
    return [verdict(trace, scores) for trace, scores in zip(results.traces, results.scores, strict=True)]


def counts(found: Sequence[OutcomeLine]) -> dict[Outcome, int]:
    return {outcome: sum(v.outcome == outcome for v in found) for outcome in Outcome}


def limit_table(results: Results) -> Table:
    """A row per limit, in the order they were given; without rows where none was set."""
    broken = sum(not outcome.kept for outcome in results.limits)
    caption = f"{broken} of {len(results.limits)} not kept." if broken else "All are kept."
    return Table("Limits", caption, ("Limit", "Value", "Outcome"), tuple(map(_row, results.limits)))


def _row(outcome: LimitOutcome) -> TableRow:
    value = metric_value(outcome.value, kind_of(outcome.metric, outcome.unit), outcome.unit)
    cells = (value, "kept" if outcome.kept else "not kept")
    return TableRow(outcome.metric, one_line(outcome.name), cells, one_line(outcome.why))
