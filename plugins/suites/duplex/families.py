"""The families of duplex scenarios: what the user does, and the control that lacks only what the family tests.

A family is written once, for any cast: voices that speak (`casting`) or tones of known length (`tones`). Anchors over a reply
are relative to what is *audible* of it. A family and its control draw the same lines, levels and delays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from fobench.api.scenario import Anchor
from fobench.api.types import NS_PER_MS

Kind = Literal[
    "question",  # with a known answer
    "request",  # of a long reply
    "interrupt",  # a question with a known answer, over the reply
    "stop",
    "fragment",  # the beginning of something longer
    "backchannel",
    "side_talk",
    "background",  # another voice, further away
    "racket",  # a burst of noise, or babble
    "murmur",  # noise in the rhythm of a question
    "silence",
]
WHOLE_MS = 120  # between the parts of a turn that is spoken without a pause


class TurnFactory(Protocol):
    """Makes the turns of one scenario, drawn by its seed."""

    def turn(self, kind: Kind, anchor: Anchor) -> Any: ...

    def ms(self, low: int, high: int) -> int:
        """A duration, in steps of 10 ms."""


@dataclass(frozen=True, slots=True)
class DuplexFamily:
    """`event` makes the turns of a scenario, `control` those of its pair. `means` says what a good system does."""

    means: str
    event: Callable[[TurnFactory], list[Any]]
    control: Callable[[TurnFactory], list[Any]]


def after(event: Literal["turn_end", "reply_audible", "reply_closing", "reply_end"], ms: int) -> Anchor:
    return Anchor(event, ms * NS_PER_MS)


def _over(kind: Kind, low: int, high: int) -> Callable[[TurnFactory], list[Any]]:
    """A request, and `kind` so many ms after the reply became audible."""
    return lambda cast: [
        cast.turn("request", Anchor()),
        cast.turn(kind, after("reply_audible", cast.ms(low, high))),
    ]


def _request(cast: TurnFactory) -> list[Any]:
    return [cast.turn("request", Anchor())]


def _question(cast: TurnFactory) -> list[Any]:
    return [cast.turn("question", Anchor())]


def _murmur(cast: TurnFactory) -> list[Any]:
    return [cast.turn("murmur", Anchor())]


def _paused(cast: TurnFactory) -> list[Any]:
    return [cast.turn("fragment", Anchor()), cast.turn("question", after("turn_end", cast.ms(700, 1600)))]


def _fluent(cast: TurnFactory) -> list[Any]:
    return [cast.turn("fragment", Anchor()), cast.turn("question", after("turn_end", WHOLE_MS))]


def _silence(cast: TurnFactory) -> list[Any]:
    return [cast.turn("silence", Anchor())]


def _silence_broken(cast: TurnFactory) -> list[Any]:
    return [cast.turn("silence", Anchor()), cast.turn("question", after("turn_end", 0))]


def _twice(cast: TurnFactory) -> list[Any]:
    return [
        cast.turn("request", Anchor()),
        cast.turn("interrupt", after("reply_audible", cast.ms(600, 2000))),
        cast.turn("interrupt", after("reply_audible", cast.ms(200, 600))),
    ]


def _late(cast: TurnFactory) -> list[Any]:
    return [cast.turn("request", Anchor()), cast.turn("interrupt", after("reply_closing", cast.ms(100, 400)))]


def _resumed(cast: TurnFactory) -> list[Any]:
    anchor = Anchor("reply_audible", cast.ms(200, 800) * NS_PER_MS, or_after_ns=cast.ms(3500, 4500) * NS_PER_MS)
    return [cast.turn("fragment", Anchor()), cast.turn("interrupt", anchor)]


FAMILIES: dict[str, DuplexFamily] = {
    "turn_taking": DuplexFamily("answers a question; its control is noise in a question's rhythm", _question, _murmur),
    "pause": DuplexFamily("waits while the user thinks in the middle of a turn", _paused, _fluent),
    "interruption": DuplexFamily("yields to a new question and answers it", _over("interrupt", 600, 2400), _request),
    "stop": DuplexFamily("yields to 'stop' and stays silent", _over("stop", 600, 2400), _request),
    "backchannel": DuplexFamily("talks on through 'mm-hmm'", _over("backchannel", 600, 2400), _request),
    "side_talk": DuplexFamily(
        "talks on while the user speaks to someone else", _over("side_talk", 600, 2400), _request
    ),
    "background": DuplexFamily("talks on while others speak further away", _over("background", 600, 2400), _request),
    "noise": DuplexFamily("talks on through bursts and babble", _over("racket", 600, 2400), _request),
    "silence": DuplexFamily("says nothing to silence; its control ends it with a question", _silence, _silence_broken),
    "double_interruption": DuplexFamily("yields to two interruptions in a row, answers the last", _twice, _request),
    "early_interruption": DuplexFamily("yields at the reply's very start", _over("interrupt", 0, 200), _request),
    "late_interruption": DuplexFamily("answers what comes into the reply's last words", _late, _request),
    "resumption": DuplexFamily("yields to a user whom it cut off, answers the whole", _resumed, _fluent),
}
