"""Correctness of a scenario's reply, per route (text or speech in, text or speech out)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fobench.api.scenario import Expect
from fobench.api.thoughts import without_thoughts
from fobench.api.trace import Trace
from fobench.scoring.answer_matching import contains
from fobench.scoring.choice_parsing import parse_choice, right_choices
from fobench.scoring.text_normalization import without_remarks

Route = Literal["t2t", "a2t2t", "s2t", "s2s"]
ROUTES: tuple[Route, ...] = ("t2t", "a2t2t", "s2t", "s2s")
SPOKEN = ("s2t", "s2s")


@dataclass(frozen=True, slots=True)
class Correctness:
    """Whether the reply on one route was right; `right` is None where that cannot be judged.

    `reason` says why it is None, or why it is wrong regardless of the text. `failed`: the trace holds a failure.
    `unparsed`: a multiple-choice reply from which no option could be parsed. `unavailable`: the run or the system does
    not offer the route.
    """

    right: bool | None
    reason: str = ""
    failed: bool = False
    unparsed: bool = False
    unavailable: bool = False


def judge_reply(trace: Trace, route: Route) -> Correctness:
    """Whether the reply on `route` contains an accepted answer.

    A missing reply is wrong. On the speech routes a failure is wrong as well: a trace records only failures of the
    system itself (exception, timeout, crash, invalid audio). Text routes are not run after a failure, and are then not
    judged.
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
    return match_answer(text, trace.scenario.expect) if text.strip() else Correctness(False, "no reply")


def reply_text(trace: Trace, route: Route) -> tuple[str | None, str]:
    """(text of the reply, "") or (None, the reason why the route has no text).

    An empty text means that there was no reply. Thoughts of a reasoning model are no part of it.
    """
    if route not in SPOKEN:
        text = trace.routes.get(route)
        return None if text is None else without_thoughts(text), f"route {route} was not run"
    if route == "s2s":
        heard = trace.judge.get("reply") or ""
        return (without_remarks(heard), "") if "reply" in trace.judge else (None, "the judge was not run")
    answer = trace.answer
    if answer and answer.generated_ns and not answer.text.strip():
        return None, "the system reports no text"
    return (answer.said if answer else ""), ""


def match_answer(text: str, expect: Expect) -> Correctness:
    """Containment of an accepted answer; for multiple choice, whether the parsed option is right (none or several:
    unparsed).
    """
    if not expect.choices:
        return Correctness(contains(text, expect.answers))
    choice = parse_choice(text, expect.choices)
    if choice is None:
        return Correctness(False, "unparsed", unparsed=True)
    return Correctness(choice in right_choices(expect.answers, expect.choices))


def is_route_judged(verdicts: Sequence[Correctness]) -> bool:
    """Whether at least one reply on the route was judged, or the route is available in every scenario.

    Failures count as wrong only then: otherwise a run without a reference ASR would get an accuracy of 0 from its
    failures alone.
    """
    any_judged = any(v.right is not None and not v.failed for v in verdicts)
    return any_judged or not any(v.unavailable for v in verdicts)
