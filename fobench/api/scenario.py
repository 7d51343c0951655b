"""A scenario: a timeline of user audio, some of it reactive, with expectations that the system never sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from fobench.api.types import NS_PER_S
from fobench.errors import FobenchError

AnchorEvent = Literal["start", "turn_end", "reply_audible", "reply_closing", "reply_end"]
ROLES = ("question", "interrupt", "stop", "fragment", "backchannel", "side_talk", "background", "noise")
CONTROL = "-control"  # ends the id and the family of a scenario that lacks what its pair tests
ASKING_ROLES = ("question", "interrupt")  # turns that want an answer; an interrupt is a question over the reply


@dataclass(frozen=True, slots=True)
class Anchor:
    """When a turn of the user begins: `delay_ns` after an event.

    `start`: the scenario's beginning. `turn_end`: the user's previous turn ended. `reply_audible`: after that the system
    was audible. `reply_end`: it fell silent after the previous turn had begun, for `delay_ns` at a stretch.
    `reply_closing`: `delay_ns` *before* its reply ends, or as soon after that as the reply is made to its end: listeners
    foresee ends. `or_after_ns`: begin so long after the previous turn's end if the reply never came to the event.
    """

    event: AnchorEvent = "start"
    delay_ns: int = NS_PER_S // 2
    or_after_ns: int | None = None

    def told(self) -> str:
        """The anchor in words, e.g. "1.2 s after reply_audible"."""
        side = "before" if self.event == "reply_closing" else "after"
        least = "" if self.or_after_ns is None else f" (or {self.or_after_ns / NS_PER_S:g} s after the last turn)"
        return f"{self.delay_ns / NS_PER_S:g} s {side} {self.event}{least}"


@dataclass(frozen=True, slots=True)
class Turn:
    """One stretch of user audio. `audio` is a file's path; `text` its reference transcript, where there is one.

    `start_ns` and `end_ns` bound the speech inside the file, from the file's beginning; None means: found by level
    (`fobench.audio.speech_bounds`). `role` says what the turn is to the dialogue: question, interrupt (a question over the
    reply), stop, fragment (the beginning of what the next turn goes on with), backchannel, side_talk, background, noise.
    """

    audio: str
    sha256: str
    text: str | None = None
    speaker: str | None = None
    role: str = "question"
    anchor: Anchor = field(default_factory=Anchor)
    start_ns: int | None = None
    end_ns: int | None = None

    def told(self) -> str:
        """The turn in one line: when, as what, and what is said."""
        words = f": {self.text!r}" if self.text else ""
        return f"{self.anchor.told()}, {self.role}{words}"


@dataclass(frozen=True, slots=True)
class Expect:
    """What the scorers know and the system does not.

    `answers`: accepted answers, the canonical one first; empty if there is nothing to answer. `choices`: of a multiple
    choice question. `family`: of a duplex scenario; that of a paired control ends in `CONTROL`.
    """

    answers: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    family: str = "question"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One conversation to replay. `id` is unique in its suite; `group` names what intervals are blocked by (the speaker)."""

    id: str
    suite: str
    seed: int
    turns: tuple[Turn, ...]
    expect: Expect = field(default_factory=Expect)
    tags: Mapping[str, str] = field(default_factory=dict)
    patience_ns: int = 20 * NS_PER_S  # how long the user waits, after the last turn, for a reply to become audible

    @property
    def question(self) -> Turn | None:
        """The turn that is to be answered: the last one that asks."""
        return next((turn for turn in reversed(self.turns) if turn.role in ASKING_ROLES), None)

    @property
    def group(self) -> str:
        return self.turns[0].speaker or self.id if self.turns else self.id

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Scenario:
        """The scenario that `to_json` wrote. Raises `FobenchError` naming what is missing or unknown."""
        try:
            turns = tuple(Turn(**{**turn, "anchor": Anchor(**turn["anchor"])}) for turn in data["turns"])
            expect = {
                **data["expect"],
                "answers": tuple(data["expect"]["answers"]),
                "choices": tuple(data["expect"]["choices"]),
            }
            return cls(**{**data, "turns": turns, "expect": Expect(**expect)})
        except (KeyError, TypeError) as error:
            raise FobenchError(f"Not a scenario: {error}. Keys found: {', '.join(map(str, data))}.") from error
