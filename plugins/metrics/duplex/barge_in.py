"""Barge-in: `yield_rate`, `false_yield_rate`, `resume_rate`.

Each counts single user sounds that overlap an audible reply.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from fobench.api.scenario import Scenario
from fobench.api.trace import Trace, Utterance
from fobench.api.types import NS_PER_S, Action, Score
from fobench.statistics.proportions import wilson
from fobench_plugins.metrics.aggregation import (
    failed_score,
    missing_score,
    missing_total,
    rate_total,
    scenario_score,
    scores_with_value,
)
from fobench_plugins.metrics.duplex import floor_spans
from fobench_plugins.metrics.duplex.floor_spans import YIELD_LIMIT_NS

RESUMED_NS = NS_PER_S  # speech for longer than this after a decision to stop is more than what the playback buffer held
REPLY_ENDED = "the reply ended by itself"


class SoundRate:
    """Share of the user's sounds that begin while the system is audible for which a condition holds.

    Wilson's 95 % interval.

    The value of a scenario is the share of its sounds; the total counts single sounds; `by_role` has the rate of each
    role. `select` gives the sounds of a trace; `holds` evaluates one, None if it does not count.
    """

    unit = "share"

    def __init__(
        self,
        name: str,
        better: Literal["higher", "lower"],
        select: Callable[[Trace], list[Utterance]],
        holds: Callable[[Trace, Utterance], bool | None],
        version: int = 1,
    ) -> None:
        self.name, self._select, self._holds, self.version = name, select, holds, version
        self.better: Literal["higher", "lower", "none"] = better

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed_score(self, trace)
        sounds = self._select(trace)
        overlapping = [u for u in sounds if floor_spans.audible_at(trace, u.start_ns)]
        judged = [(u, self._holds(trace, u)) for u in overlapping]
        events = [{"role": floor_spans.role(trace, u), "yielded": held} for u, held in judged if held is not None]
        if events:
            return scenario_score(
                self, sum(e["yielded"] is True for e in events) / len(events), scenario, sounds=events
            )
        return missing_score(
            self, REPLY_ENDED if overlapping else floor_spans.NOTHING_AUDIBLE if sounds else "no such sound", scenario
        )

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        sounds = [sound for score in scores_with_value(scores) for sound in score.detail["sounds"]]
        if not sounds:
            return [missing_total(self, scores)]
        by_role = {}
        for role in sorted({sound["role"] for sound in sounds}):
            of_role = [sound["yielded"] for sound in sounds if sound["role"] == role]
            hits, n = sum(of_role), len(of_role)
            by_role[role] = {"value": hits / n, "n": n, "hits": hits, "ci": wilson(hits, n)}
        return [rate_total(self, sum(sound["yielded"] for sound in sounds), len(sounds), scores, by_role=by_role)]


def yields_to_interruption(trace: Trace, interruption: Utterance) -> bool | None:
    """`yield_rate`: whether the system decides to stop within 2.0 s of the interruption's start.

    None: the reply ended by itself before.
    """
    if _yield_decision_ns(trace, interruption, interruption.start_ns + YIELD_LIMIT_NS) is not None:
        return True
    sound = floor_spans.audible_at(trace, interruption.start_ns)
    return None if sound and sound.end_ns <= interruption.start_ns + YIELD_LIMIT_NS else False


def yields_falsely(trace: Trace, sound: Utterance) -> bool:
    """`false_yield_rate`: whether the system decides to stop for a sound that does not claim the floor, until 2.0 s
    after its end.
    """
    return _yield_decision_ns(trace, sound, sound.end_ns + YIELD_LIMIT_NS) is not None


def keeps_reply(trace: Trace, sound: Utterance) -> bool | None:
    """`resume_rate`: whether the system continues its reply, or resumes the same one (by its number) after a stop.

    None: it was silent.
    """
    reply = floor_spans.audible_at(trace, sound.start_ns)
    if reply is None:
        return None
    stopped = _yield_decision_ns(trace, sound, sound.end_ns + YIELD_LIMIT_NS)
    return stopped is None or reply.end_ns > stopped + RESUMED_NS


def _yield_decision_ns(trace: Trace, sound: Utterance, until_ns: int) -> int | None:
    """Time of the first decision to stop from the sound's start to `until_ns`, before the user next claims the
    floor; ns or None.
    """
    claim = floor_spans.next_claim_ns(trace, sound)
    end = until_ns + 1 if claim is None else min(until_ns + 1, claim)
    return floor_spans.first_time_ns(trace.decisions(Action.YIELD), sound.start_ns, end)
