"""The turn-taking state machine, as one transition table.

The session maps observations (voice activity, the state head's prediction, playback of a reply) to signals, and executes the
actions that the table returns. Only the table decides whether the system listens or speaks.
Source: Freeze-Omni, duplex dialogue: states 0 (keep listening), 1 (end of speech, answer), 2 (end of speech, do not answer).
"""

from __future__ import annotations

from enum import Enum, auto


class Phase(Enum):
    """The state of the conversation."""

    WAITING = auto()  # nobody speaks
    LISTENING = auto()  # a user turn is in progress
    REPLYING = auto()  # a reply is being generated or played
    OVERLAP = auto()  # both: the user speaks over the reply, and the purpose is not yet known


class Signal(Enum):
    """An observation."""

    ONSET = auto()  # speech has begun (without voice activity detection: audio has arrived)
    ANSWER = auto()  # the user turn is over and needs an answer (state 1, or the rule in its place)
    IGNORE = auto()  # the user turn is over and needs none (state 2)
    NO_INPUT = auto()  # the turn had no usable content: silence, an echo, or more than the model can hold
    INTERRUPT = auto()  # the user's speech stops the reply before the end of the turn
    DONE = auto()  # the reply has been played to its end


class TurnAction(Enum):
    """What the session does; a transition gives them in the order of execution."""

    BEGIN_TURN = auto()  # begin a user turn, with the audio of the pre-roll
    DROP = auto()  # discard the user turn
    STOP = auto()  # stop the reply; the context keeps what was heard of it
    CLOSE = auto()  # end the reply; the context keeps all of it
    REPLY = auto()  # begin a reply to the user turn


TRANSITIONS: dict[tuple[Phase, Signal], tuple[Phase, tuple[TurnAction, ...]]] = {
    (Phase.WAITING, Signal.ONSET): (Phase.LISTENING, (TurnAction.BEGIN_TURN,)),
    (Phase.LISTENING, Signal.ANSWER): (Phase.REPLYING, (TurnAction.REPLY,)),
    (Phase.LISTENING, Signal.IGNORE): (Phase.WAITING, (TurnAction.DROP,)),
    (Phase.LISTENING, Signal.NO_INPUT): (Phase.WAITING, (TurnAction.DROP,)),
    (Phase.REPLYING, Signal.ONSET): (Phase.OVERLAP, (TurnAction.BEGIN_TURN,)),
    (Phase.REPLYING, Signal.DONE): (Phase.WAITING, (TurnAction.CLOSE,)),
    (Phase.OVERLAP, Signal.ANSWER): (Phase.REPLYING, (TurnAction.STOP, TurnAction.REPLY)),
    (Phase.OVERLAP, Signal.INTERRUPT): (Phase.LISTENING, (TurnAction.STOP,)),
    (Phase.OVERLAP, Signal.IGNORE): (Phase.REPLYING, (TurnAction.DROP,)),
    (Phase.OVERLAP, Signal.NO_INPUT): (Phase.REPLYING, (TurnAction.DROP,)),
    (Phase.OVERLAP, Signal.DONE): (Phase.LISTENING, (TurnAction.CLOSE,)),
}


def transition(phase: Phase, signal: Signal) -> tuple[Phase, tuple[TurnAction, ...]]:
    """The next phase and the actions; a signal without an entry for the phase changes nothing."""
    return TRANSITIONS.get((phase, signal), (phase, ()))
