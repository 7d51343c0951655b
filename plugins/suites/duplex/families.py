"""Categories of duplex scenarios: the user's turns, and a control that differs only in the event under test.

A category is defined once for any `TurnFactory`: speech (`speaker_assignment`) or tones of known length
(`synthetic_tones`). Anchors during a reply are relative to its *audible* span. A scenario and its control draw the same
lines, levels and delays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from fobench.api.scenario import Anchor
from fobench.api.types import NS_PER_MS

Kind = Literal[
    "question",  # with a known answer
    "request",  # for a long reply
    "interrupt",  # a question with a known answer, over the reply
    "stop",
    "fragment",  # the beginning of a turn that continues
    "backchannel",
    "side_talk",
    "background",  # another speaker, at a lower level
    "noise_burst",  # a burst of noise, or babble
    "murmur",  # noise in the rhythm of a question
    "silence",
]
FLUENT_GAP_MS = 120  # between the parts of a turn that is spoken without a pause


class TurnFactory(Protocol):
    """Creates the turns of one scenario, drawn from its seed."""

    def turn(self, kind: Kind, anchor: Anchor) -> Any: ...

    def ms(self, low: int, high: int) -> int:
        """A random duration in ms, in steps of 10 ms."""


@dataclass(frozen=True, slots=True)
class DuplexFamily:
    """One category.

    `event` creates the turns of a scenario, `control` those of its control; `expectation` is the correct behavior.
    """

    expectation: str
    event: Callable[[TurnFactory], list[Any]]
    control: Callable[[TurnFactory], list[Any]]


def after(event: Literal["turn_end", "reply_audible", "reply_closing", "reply_end"], ms: int) -> Anchor:
    """An anchor `ms` milliseconds after an event."""
    return Anchor(event, ms * NS_PER_MS)


def _during_reply(kind: Kind, low: int, high: int) -> Callable[[TurnFactory], list[Any]]:
    """A request, and a turn of `kind` from `low` to `high` ms after the reply became audible."""
    return lambda make: [
        make.turn("request", Anchor()),
        make.turn(kind, after("reply_audible", make.ms(low, high))),
    ]


def _request(make: TurnFactory) -> list[Any]:
    return [make.turn("request", Anchor())]


def _question(make: TurnFactory) -> list[Any]:
    return [make.turn("question", Anchor())]


def _murmur(make: TurnFactory) -> list[Any]:
    return [make.turn("murmur", Anchor())]


def _with_pause(make: TurnFactory) -> list[Any]:
    return [make.turn("fragment", Anchor()), make.turn("question", after("turn_end", make.ms(700, 1600)))]


def _fluent(make: TurnFactory) -> list[Any]:
    return [make.turn("fragment", Anchor()), make.turn("question", after("turn_end", FLUENT_GAP_MS))]


def _silence(make: TurnFactory) -> list[Any]:
    return [make.turn("silence", Anchor())]


def _silence_then_question(make: TurnFactory) -> list[Any]:
    return [make.turn("silence", Anchor()), make.turn("question", after("turn_end", 0))]


def _two_interruptions(make: TurnFactory) -> list[Any]:
    return [
        make.turn("request", Anchor()),
        make.turn("interrupt", after("reply_audible", make.ms(600, 2000))),
        make.turn("interrupt", after("reply_audible", make.ms(200, 600))),
    ]


def _late_interruption(make: TurnFactory) -> list[Any]:
    return [make.turn("request", Anchor()), make.turn("interrupt", after("reply_closing", make.ms(100, 400)))]


def _resumption(make: TurnFactory) -> list[Any]:
    anchor = Anchor("reply_audible", make.ms(200, 800) * NS_PER_MS, or_after_ns=make.ms(3500, 4500) * NS_PER_MS)
    return [make.turn("fragment", Anchor()), make.turn("interrupt", anchor)]


FAMILIES: dict[str, DuplexFamily] = {
    "turn_taking": DuplexFamily(
        "answers a question; the control is noise with the rhythm of a question", _question, _murmur
    ),
    "pause": DuplexFamily("waits while the user thinks in the middle of a turn", _with_pause, _fluent),
    "interruption": DuplexFamily(
        "stops for a new question and answers it", _during_reply("interrupt", 600, 2400), _request
    ),
    "stop": DuplexFamily("stops at 'stop' and stays silent", _during_reply("stop", 600, 2400), _request),
    "backchannel": DuplexFamily("continues through 'mm-hmm'", _during_reply("backchannel", 600, 2400), _request),
    "side_talk": DuplexFamily(
        "continues while the user speaks to someone else", _during_reply("side_talk", 600, 2400), _request
    ),
    "background": DuplexFamily(
        "continues while others speak in the background", _during_reply("background", 600, 2400), _request
    ),
    "noise": DuplexFamily(
        "continues through noise bursts and babble", _during_reply("noise_burst", 600, 2400), _request
    ),
    "silence": DuplexFamily(
        "stays silent during silence; the control ends it with a question", _silence, _silence_then_question
    ),
    "double_interruption": DuplexFamily(
        "stops for two interruptions in a row, answers the last", _two_interruptions, _request
    ),
    "early_interruption": DuplexFamily(
        "stops for an interruption right at the start of the reply", _during_reply("interrupt", 0, 200), _request
    ),
    "late_interruption": DuplexFamily(
        "answers an interruption during the last words of the reply", _late_interruption, _request
    ),
    "resumption": DuplexFamily(
        "stops for a user whose turn it cut off, answers the complete question", _resumption, _fluent
    ),
}
