"""Whether a scenario's reply was right, by route."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fobench.api.scenario import Expect
from fobench.api.trace import Trace
from fobench.scoring.answer_matching import contains, parse_choice, right_choices

Route = Literal["t2t", "a2t2t", "s2t", "s2s"]
ROUTES: tuple[Route, ...] = ("t2t", "a2t2t", "s2t", "s2s")
SPOKEN = ("s2t", "s2s")


@dataclass(frozen=True, slots=True)
class Correctness:
    """`right` is None where the route cannot be judged. `reason` says why it is None, or wrong without a look at the text.

    `failed`: the scenario has a failure. `unparsed`: a multiple-choice reply that takes no choice. `unavailable`: the run
    or the system does not offer the route.
    """

    right: bool | None
    reason: str = ""
    failed: bool = False
    unparsed: bool = False
    unavailable: bool = False


def verdict(trace: Trace, route: Route) -> Correctness:
    """Whether the reply by `route` holds an accepted answer.

    No reply is a wrong one. So is, on the spoken routes, a trace's failure: only the system's own (it raised, hung, died,
    gave bad audio) is ever recorded as one. On a text route, which is then not run, it gives no verdict.
    """
    if not trace.scenario.expect.answers:
        return Correctness(None, "no answers to match")
    if trace.failure and (route in SPOKEN or trace.routes.get(route) is None):
        return Correctness(False if route in SPOKEN else None, f"failure: {trace.failure.kind}", failed=True)
    if route in SPOKEN and not trace.question:
        return Correctness(None, "the question was not asked")
    text, reason = reply_text(trace, route)
    if text is None:
        return Correctness(None, reason, unavailable=True)
    return match(text, trace.scenario.expect) if text.strip() else Correctness(False, "no reply")


def reply_text(trace: Trace, route: Route) -> tuple[str | None, str]:
    """(text of the reply, "") or (None, why the route has no text to judge). An empty text is no reply."""
    if route not in SPOKEN:
        return trace.routes.get(route), f"route {route} was not run"
    if route == "s2s":
        return (trace.judge["reply"] or "", "") if "reply" in trace.judge else (None, "the judge was not run")
    answer = trace.answer
    if answer and answer.generated_ns and not answer.text.strip():
        return None, "the system reports no text"
    return (answer.text if answer else ""), ""


def match(text: str, expect: Expect) -> Correctness:
    """Containment of an answer; of a multiple-choice question, the choice that was taken (none or several: unparsed)."""
    if not expect.choices:
        return Correctness(contains(text, expect.answers))
    taken = parse_choice(text, expect.choices)
    if taken is None:
        return Correctness(False, "unparsed", unparsed=True)
    return Correctness(taken in right_choices(expect.answers, expect.choices))


def judged(verdicts: Sequence[Correctness]) -> bool:
    """Whether the route was judged at all: failures count as wrong only beside replies that were looked at.

    A run without a judge would else have an accuracy of 0 from its failures alone.
    """
    looked = any(v.right is not None and not v.failed for v in verdicts)
    return looked or not any(v.unavailable for v in verdicts)
