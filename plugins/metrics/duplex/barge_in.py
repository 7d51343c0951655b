"""Stopping and talking on: `yield_rate`, `false_yield_rate`, `resume_rate`. Each counts single sounds over the reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from fobench.api.scenario import Scenario
from fobench.api.trace import Trace, Utterance
from fobench.api.types import NS_PER_S, Action, Score
from fobench.statistics.proportions import wilson
from fobench_plugins.metrics.aggregation import failed, given, known, missing, no_total, share
from fobench_plugins.metrics.duplex import floor_spans
from fobench_plugins.metrics.duplex.floor_spans import YIELD_NS

RESUMED_NS = NS_PER_S  # heard for longer than this after a stop: more than what a device still plays
OVER = "the reply ended by itself"


class SoundRate:
    """Share of the user's sounds, made while the system is audible, for which something holds; Wilson's 95 % interval.

    A scenario's value is the share of its sounds; the total counts single sounds; `by_role` has each role apart.
    """

    unit = "share"

    def __init__(
        self,
        name: str,
        better: Literal["higher", "lower"],
        which: Callable[[Trace], list[Utterance]],
        holds: Callable[[Trace, Utterance], bool | None],
        version: int = 1,
    ) -> None:
        self.name, self._which, self._holds, self.version = name, which, holds, version
        self.better: Literal["higher", "lower", "none"] = better

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed(self, trace)
        sounds = self._which(trace)
        tried = [u for u in sounds if floor_spans.audible_at(trace, u.start_ns)]
        judged = [(u, self._holds(trace, u)) for u in tried]
        events = [{"role": floor_spans.role(trace, u), "yielded": held} for u, held in judged if held is not None]
        if events:
            return given(self, sum(e["yielded"] is True for e in events) / len(events), scenario, sounds=events)
        return missing(self, OVER if tried else floor_spans.NOTHING_AUDIBLE if sounds else "no such sound", scenario)

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


def yields(trace: Trace, interruption: Utterance) -> bool | None:
    """`yield_rate`: it decides to stop within 2.0 s of the interruption's start. None: its reply was over before that."""
    if _stop_ns(trace, interruption, interruption.start_ns + YIELD_NS) is not None:
        return True
    sound = floor_spans.audible_at(trace, interruption.start_ns)
    return None if sound and sound.end_ns <= interruption.start_ns + YIELD_NS else False


def stops(trace: Trace, sound: Utterance) -> bool:
    """`false_yield_rate`: it decides to stop for what claims no floor, until 2.0 s after the sound's end."""
    return _stop_ns(trace, sound, sound.end_ns + YIELD_NS) is not None


def keeps(trace: Trace, sound: Utterance) -> bool | None:
    """`resume_rate`: it talks on, or goes on with the same reply (by its number) after it stopped. None: it was silent."""
    reply = floor_spans.audible_at(trace, sound.start_ns)
    if reply is None:
        return None
    stopped = _stop_ns(trace, sound, sound.end_ns + YIELD_NS)
    return stopped is None or reply.end_ns > stopped + RESUMED_NS


def _stop_ns(trace: Trace, sound: Utterance, until_ns: int) -> int | None:
    """The first decision to yield from the sound's start to `until_ns`, and before the user next claims the floor."""
    claim = floor_spans.next_claim_ns(trace, sound)
    end = until_ns + 1 if claim is None else min(until_ns + 1, claim)
    return floor_spans.first(trace.decisions(Action.YIELD), sound.start_ns, end)
