"""What a scripted control does in a duplex scenario of tones, worked out by hand's arithmetic: no audio, no chunks, no clock.

Times in ms. The control answers a sound `answer` ms after its end, unless another has begun or it ended during a reply;
its replies last `length`. It stops `stop` ms after the onset of a sound over its reply, if that lasts longer (or of any).
"""

from __future__ import annotations

from dataclasses import dataclass, field

INAUDIBLE = ("silence",)
FOREVER = 10**9


@dataclass
class Behaviour:
    answer: float | None = 700.0  # None: never speaks
    length: float | None = 4000.0  # None: as long as what it heard
    stop: float | None = None
    to_anything: bool = False
    always: bool = False  # talks from the first chunk on


@dataclass
class Story:
    """Sounds of the user and replies, (start, end); stops: (start of the sound that did it, when)."""

    user: list[tuple[float, float]] = field(default_factory=list)
    replies: list[list[float]] = field(default_factory=list)
    stops: list[tuple[float, float]] = field(default_factory=list)


def story(scenario, behaviour: Behaviour) -> Story:
    told = Story(replies=[[20.0, FOREVER]] if behaviour.always else [])
    for turn in scenario.turns:
        start = _begin(told, turn)
        if start is None:
            break
        end = start + turn.end_ns / 1e6
        if told.replies and told.replies[-1][0] > start:
            told.replies.pop()  # it was not yet begun when the user went on
        told.user.append((start, end))
        if not turn.audio.rpartition("/")[2].startswith("silence"):
            _hear(told, start, end, behaviour)
    return told


def _begin(told: Story, turn) -> float | None:
    anchor, delay = turn.anchor, turn.anchor.delay_ns / 1e6
    if anchor.event == "start":
        return delay
    previous = told.user[-1][1]
    if anchor.event == "turn_end":
        return previous + delay
    reply = next((r for r in told.replies if r[1] > previous), None)
    if reply is None:
        return None if anchor.or_after_ns is None else previous + anchor.or_after_ns / 1e6
    if anchor.event == "reply_audible":
        return max(reply[0], previous) + delay
    return reply[1] - delay if reply[1] < FOREVER else None


def _hear(told: Story, start: float, end: float, behaviour: Behaviour) -> None:
    reply = told.replies[-1] if told.replies else [0.0, 0.0]
    over = reply[0] <= start < reply[1]
    lasts = behaviour.stop is not None and (behaviour.to_anything or end - start > behaviour.stop)
    if over and lasts and start + behaviour.stop < reply[1]:
        told.stops.append((start, start + behaviour.stop))
        reply[1] = start + behaviour.stop
    if behaviour.answer is not None and not behaviour.always and end >= reply[1]:
        length = end - start if behaviour.length is None else behaviour.length
        told.replies.append([end + behaviour.answer, end + behaviour.answer + length])
