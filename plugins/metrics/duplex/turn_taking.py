"""Turn taking: `takeover_rate`, `pause_takeover_rate`, `turn_success`, `interrupts_user_rate`, `response_after_interrupt`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import Score
from fobench.scoring.text_normalization import normalise
from fobench_plugins.metrics.aggregation import failed, given, known, missing, share
from fobench_plugins.metrics.correctness import verdict
from fobench_plugins.metrics.duplex import floor_spans
from fobench_plugins.metrics.duplex.barge_in import keeps
from fobench_plugins.metrics.duplex.floor_spans import TAKEOVER_NS, TAKEOVER_WORDS, YIELD_NS, AudibleSpan

Outcome = bool | str  # or why there is none


class ScenarioRate:
    """Share of scenarios in which something happened, with Wilson's 95 % interval."""

    unit = "share"

    def __init__(
        self,
        name: str,
        better: Literal["higher", "lower", "none"],
        happened: Callable[[Trace], Outcome],
        version: int = 1,
    ) -> None:
        self.name, self.better, self.happened, self.version = name, better, happened, version

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
    heard = floor_spans.sounds(trace)
    if any(_long(sound) for sound in heard):
        return True
    return bool(heard) and len(normalise(trace.judge.get("reply") or "").split()) > TAKEOVER_WORDS


def takes_over_in_pause(trace: Trace) -> Outcome:
    """`pause_takeover_rate`: a reply that sounds in a pause of the user's turn, or in what followed, takes the floor.

    What it said before the pause does not count. The words of one that began there are those that the system wrote, as far as
    they were heard: the judge hears the answer only.
    """
    pauses = floor_spans.pauses(trace)
    if not pauses:
        return "no pause inside a turn"
    return any(_takes(sound, pause) for sound in floor_spans.sounds(trace) for pause in pauses)


def _takes(sound: AudibleSpan, pause: floor_spans.FloorSpan) -> bool:
    if sound.start_ns >= pause.end_ns or sound.end_ns <= pause.start_ns:
        return False
    if sound.start_ns < pause.start_ns:
        return sound.end_ns - pause.start_ns >= TAKEOVER_NS
    return _long(sound) or _words_heard(sound) > TAKEOVER_WORDS


def _long(sound: AudibleSpan) -> bool:
    return sound.end_ns - sound.start_ns >= TAKEOVER_NS


def _words_heard(sound: AudibleSpan) -> float:
    reply = sound.reply
    return len(normalise(reply.text).split()) * reply.heard_ns / max(1, reply.generated_ns)


def succeeds(trace: Trace) -> Outcome:
    """`turn_success`: silent in the user's span, speaks in its own.

    Silent: it never becomes audible while the user holds the floor, what an interruption interrupts ends within 2.0 s, and
    after "stop", or where nothing was asked, it does not take the floor. Speaks: audible after the question (after what was
    asked before it, if it was never reached), and it keeps (or resumes) its reply through what claims no floor.
    """
    asked = trace.asked
    if trace.scenario.question and not asked:
        return "no question was asked"
    overlaps = any(_overlaps(trace, hold) for hold in floor_spans.holds(trace) if not hold.over)
    silent = not overlaps and speaks_over(trace) is not True and not _overrun(trace)
    if not asked:
        return silent and not takes_over(trace)
    stops = [u for u in trace.user if floor_spans.role(trace, u) == "stop" and u.start_ns > asked.start_ns]
    if stops:
        begin, limit = stops[-1].start_ns, stops[-1].start_ns + YIELD_NS
        return silent and not any(
            _long(s) for s in floor_spans.sounds(trace) if s.start_ns >= begin and s.end_ns > limit
        )
    speaks = any(sound.start_ns >= asked.end_ns for sound in floor_spans.sounds(trace))
    return silent and speaks and all(keeps(trace, u) is not False for u in floor_spans.bystanders(trace))


def _overlaps(trace: Trace, hold: floor_spans.FloorSpan) -> bool:
    return any(s.start_ns < hold.end_ns and s.end_ns > hold.start_ns for s in floor_spans.sounds(trace))


def _overrun(trace: Trace) -> bool:
    """Whether it went on for more than 2.0 s into an interruption."""
    met = [(u, floor_spans.audible_at(trace, u.start_ns)) for u in floor_spans.interruptions(trace)]
    return any(sound.end_ns > u.start_ns + YIELD_NS for u, sound in met if sound)


def speaks_over(trace: Trace) -> Outcome:
    """`interrupts_user_rate`: the system becomes audible while the user holds the floor, pauses inside a turn included."""
    holds = floor_spans.holds(trace)
    if not holds:
        return "the user never holds the floor"
    return any(hold.start_ns <= sound.start_ns < hold.end_ns for hold in holds for sound in floor_spans.sounds(trace))


def answers_interrupt(trace: Trace) -> Outcome:
    """`response_after_interrupt`: the new question is answered correctly, as spoken (as written, if there was no judge)."""
    asked = trace.scenario.question
    if asked is None or asked.role != "interrupt":
        return "no interruption by a question"
    spoken = verdict(trace, "s2s")
    found = verdict(trace, "s2t") if spoken.unavailable else spoken
    return found.reason if found.right is None else found.right
