"""Scenarios: user turns, some of them reactive, with expectations that are hidden from the system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from fobench import outside_files
from fobench.api.types import NS_PER_S
from fobench.errors import FobenchError

AnchorEvent = Literal["start", "turn_end", "reply_audible", "reply_closing", "reply_end"]
ROLES = ("question", "interrupt", "stop", "fragment", "backchannel", "side_talk", "background", "noise")
LISTENING = "listening"  # family of scenarios in which the system has to listen to the end
CONTROL = "-control"  # suffix of the id and family of a paired control scenario
CONDITION, CLEAN = (
    "condition",
    "clean",
)  # the tag of a scenario that is heard under several conditions, and its value without any
CONDITION_MARK = "@"  # before the condition in the id of a scenario whose clean twin has the id without both
ASKING_ROLES = ("question", "interrupt")  # turns that require a reply; an interrupt is a question during the reply
INTERRUPTING_ROLES = ("interrupt", "stop")  # turns that claim the floor while the system speaks
NON_CLAIMING_ROLES = ("backchannel", "side_talk", "background", "noise")  # sounds that do not claim the floor
EXPECTATIONS = {  # what a turn may require of the system, and the roles of such turns
    "stop": INTERRUPTING_ROLES,
    "keep": NON_CLAIMING_ROLES,
    "reply": ASKING_ROLES,
}


@dataclass(frozen=True, slots=True)
class Anchor:
    """The start of a user turn: `delay_ns` after an event.

    `start`: the scenario's start. `turn_end`: the end of the user's previous turn. `reply_audible`: the first audible reply
    after that. `reply_end`: the system has been silent for `delay_ns` after a reply since the previous turn began.
    `reply_closing`: `delay_ns` *before* the end of the reply, or as soon after that as the reply is completely generated
    (listeners predict turn ends). `or_after_ns`: the turn begins this long after the previous turn's end if the event never
    occurs.
    """

    event: AnchorEvent = "start"
    delay_ns: int = NS_PER_S // 2
    or_after_ns: int | None = None

    def describe(self) -> str:
        """The anchor in words, e.g. "1.2 s after reply_audible"."""
        side = "before" if self.event == "reply_closing" else "after"
        least = "" if self.or_after_ns is None else f" (or {self.or_after_ns / NS_PER_S:g} s after the last turn)"
        return f"{self.delay_ns / NS_PER_S:g} s {side} {self.event}{least}"


@dataclass(frozen=True, slots=True)
class Turn:
    """One user turn. `audio`: path of the file; `text`: its reference transcript, if any.

    `start_ns` and `end_ns` bound the speech inside the file, from the file's beginning; None: detected by level
    (`fobench.audio.speech_bounds`). `role`: the turn's function in the dialogue: question, interrupt (a question during
    the reply), stop, fragment (an utterance that the next turn continues), backchannel, side_talk, background, noise.
    """

    audio: str
    sha256: str
    text: str | None = None
    speaker: str | None = None
    role: str = "question"
    anchor: Anchor = field(default_factory=Anchor)
    start_ns: int | None = None
    end_ns: int | None = None

    def describe(self) -> str:
        """The turn in one line: anchor, role and text."""
        words = f": {self.text!r}" if self.text else ""
        return f"{self.anchor.describe()}, {self.role}{words}"


@dataclass(frozen=True, slots=True)
class TurnExpect:
    """What the user turn of index `turn` requires: that the system stops or keeps its reply, or that it replies (a key of
    `EXPECTATIONS`; empty: nothing), and limits on its barge-in stop and response latency, ms.
    """

    turn: int
    expect: str = ""
    max_stop_ms: float | None = None
    max_response_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Expect:
    """The expectations for scoring, hidden from the system.

    `answers`: accepted answers, the canonical one first; empty without a question. `choices`: of a multiple-choice question.
    `family`: category of a duplex scenario; that of a paired control ends in `CONTROL`. `asserts`: absolute
    limits on the metrics of this scenario alone; `turns`: what single turns require.
    """

    answers: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    family: str = "question"
    asserts: tuple[str, ...] = ()
    turns: tuple[TurnExpect, ...] = ()

    @property
    def is_listening(self) -> bool:
        """Whether the system has to listen to the end, where no reply is due."""
        return self.family.removesuffix(CONTROL) == LISTENING


@dataclass(frozen=True, slots=True)
class Scenario:
    """One conversation to replay. `id` is unique in its suite; `group`: resampling block of its scores (the speaker)."""

    id: str
    suite: str
    seed: int
    turns: tuple[Turn, ...]
    expect: Expect = field(default_factory=Expect)
    tags: Mapping[str, str] = field(default_factory=dict)
    patience_ns: int = 20 * NS_PER_S  # maximum wait for an audible reply after the last turn

    @property
    def question(self) -> Turn | None:
        """The turn to be answered: the last one with an asking role."""
        return next((turn for turn in reversed(self.turns) if turn.role in ASKING_ROLES), None)

    @property
    def clean_id(self) -> str:
        """The id of its clean twin: its own without the condition."""
        condition = self.tags.get(CONDITION)
        return self.id.replace(f"{CONDITION_MARK}{condition}", "", 1) if condition else self.id

    @property
    def group(self) -> str:
        return self.turns[0].speaker or self.id if self.turns else self.id

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        for key in ("asserts", "turns"):  # left out where there are none, as by versions without limits: equal digests
            if not data["expect"][key]:
                del data["expect"][key]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Scenario:
        """The scenario that `to_json` wrote. Raises `FobenchError` naming a key that is missing, unknown or of a wrong type."""
        try:
            return outside_files.record(cls, data)
        except ValueError as error:
            raise FobenchError(f"Not a scenario: {error}.") from error
