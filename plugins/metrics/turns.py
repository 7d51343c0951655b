"""Turn taking: `takeover_rate`, `turn_success`, `interrupts_user_rate`, `yield_rate`, `false_yield_rate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from fobench.scenario import Scenario
from fobench.stats import wilson
from fobench.text import normalise
from fobench.trace import Trace, Utterance
from fobench.types import NS_PER_S, Action, Score
from fobench_plugins.metrics import moments
from fobench_plugins.metrics.scores import failed, given, known, missing, no_total, share

TAKEOVER_NS = NS_PER_S  # audible speech of this length takes the floor ...
TAKEOVER_WORDS = 3  # ... and so do more words than this
YIELD_NS = 2 * NS_PER_S  # a yield later than this after the interruption's start is none

Outcome = bool | str  # or why there is none


class Rate:
    """Share of scenarios in which something happened, with Wilson's 95 % interval."""

    version = 1
    unit = "share"

    def __init__(
        self, name: str, better: Literal["higher", "lower", "none"], happened: Callable[[Trace], Outcome]
    ) -> None:
        self.name, self.better, self.happened = name, better, happened

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed(self, trace)
        outcome = self.happened(trace)
        return missing(self, outcome, scenario) if isinstance(outcome, str) else given(self, outcome, scenario)

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        found = known(scores)
        return [share(self, sum(score.value == 1.0 for score in found), len(found), scores)]


def takes_over(trace: Trace) -> Outcome:
    """`takeover_rate`: a reply is audible for at least 1 s, or of more than 3 words (as the judge heard them)."""
    heard = moments.sounds(trace)
    if any(sound.end_ns - sound.start_ns >= TAKEOVER_NS for sound in heard):
        return True
    return bool(heard) and len(normalise(trace.judge.get("reply") or "").split()) > TAKEOVER_WORDS


def succeeds(trace: Trace) -> Outcome:
    """`turn_success`: silent while the user speaks (but for what an interruption interrupts), audible after the question."""
    question = trace.question
    if not question:
        return "no question was asked"
    interrupting = moments.interruptions(trace)
    held = [utterance for utterance in moments.claims(trace) if utterance not in interrupting]
    silent = not any(overlaps(trace, utterance) for utterance in held) and not speaks_over(trace)
    return silent and any(sound.start_ns >= question.end_ns for sound in moments.sounds(trace))


def speaks_over(trace: Trace) -> Outcome:
    """`interrupts_user_rate`: the system becomes audible inside an utterance that holds the floor."""
    claims = moments.claims(trace)
    if not claims:
        return "the user never holds the floor"
    return any(u.start_ns <= sound.start_ns < u.end_ns for u in claims for sound in moments.sounds(trace))


def overlaps(trace: Trace, utterance: Utterance) -> bool:
    return any(s.start_ns < utterance.end_ns and s.end_ns > utterance.start_ns for s in moments.sounds(trace))


class YieldRate:
    """Share of sounds, made while the system is audible, for which it decides to stop; Wilson's 95 % interval.

    `yield_rate`: of interruptions, within 2.0 s of their start. `false_yield_rate`: of backchannels, side talk, background
    speech and noise, until 2.0 s after their end. The total counts single sounds; `by_role` has each role apart.
    """

    version = 1
    unit = "share"

    def __init__(self, name: str, better: Literal["higher", "lower"], false: bool) -> None:
        self.name, self.false = name, false
        self.better: Literal["higher", "lower", "none"] = better

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed(self, trace)
        sounds = moments.bystanders(trace) if self.false else moments.interruptions(trace)
        tried = [u for u in sounds if moments.audible_at(trace, u.start_ns)]
        if not tried:
            return missing(self, moments.NOTHING_AUDIBLE if sounds else "no such sound", scenario)
        events = [{"role": moments.role(trace, u), "yielded": self.yields(trace, u)} for u in tried]
        return given(self, sum(e["yielded"] is True for e in events) / len(events), scenario, sounds=events)

    def yields(self, trace: Trace, sound: Utterance) -> bool:
        until = (sound.end_ns if self.false else sound.start_ns) + YIELD_NS
        claim = moments.next_claim_ns(trace, sound)
        end = until + 1 if claim is None else min(until + 1, claim)
        return moments.first(trace.decisions(Action.YIELD), sound.start_ns, end) is not None

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        sounds = [sound for score in known(scores) for sound in score.detail["sounds"]]
        if not sounds:
            return [no_total(self, scores)]
        by_role = {}
        for role in sorted({sound["role"] for sound in sounds}):
            of_role = [sound["yielded"] for sound in sounds if sound["role"] == role]
            hits, n = sum(of_role), len(of_role)
            by_role[role] = {"value": hits / n, "n": n, "hits": hits, "ci": wilson(hits, n)}
        return [share(self, sum(sound["yielded"] for sound in sounds), len(sounds), scores, by_role=by_role)]
