"""Who has the turn: the duplex state machine, as one table.

The session turns what it observes (voice activity, the state head's verdict on a chunk, what was heard of a reply) into
signals, and does the acts that the table answers with. Nothing else decides whether the system listens or speaks.
Paper, duplex dialogue: states 0 (keep listening), 1 (end of speech, answer), 2 (end of speech, do not answer).
"""

from __future__ import annotations

from enum import Enum, auto


class Phase(Enum):
    """What the system is doing."""

    WAITING = auto()  # nobody speaks
    LISTENING = auto()  # a user's turn is being heard
    REPLYING = auto()  # a reply is being made or heard
    OVERHEARING = auto()  # both: the user speaks over the reply, and it is not yet clear what for


class Signal(Enum):
    """What has been observed."""

    ONSET = auto()  # speech has begun (or, without voice activity detection, there is audio)
    ANSWER = auto()  # the user's turn is over and wants an answer (state 1, or the rule that stands for it)
    IGNORE = auto()  # the user's turn is over and wants none (state 2)
    LOST = auto()  # nothing came of it: silence, or a turn longer than the model can hold
    INTERRUPT = auto()  # the user's speech is to stop the reply before it is known how it ends
    DONE = auto()  # the reply has been heard to its end


class TurnAction(Enum):
    """What is to be done, in the order given."""

    OPEN = auto()  # begin a user turn, with the audio from shortly before
    DROP = auto()  # forget the user turn
    STOP = auto()  # stop the reply; of it, remember what was heard
    CLOSE = auto()  # the reply is over; remember it
    REPLY = auto()  # begin a reply to the user turn


TRANSITIONS: dict[tuple[Phase, Signal], tuple[Phase, tuple[TurnAction, ...]]] = {
    (Phase.WAITING, Signal.ONSET): (Phase.LISTENING, (TurnAction.OPEN,)),
    (Phase.LISTENING, Signal.ANSWER): (Phase.REPLYING, (TurnAction.REPLY,)),
    (Phase.LISTENING, Signal.IGNORE): (Phase.WAITING, (TurnAction.DROP,)),
    (Phase.LISTENING, Signal.LOST): (Phase.WAITING, (TurnAction.DROP,)),
    (Phase.REPLYING, Signal.ONSET): (Phase.OVERHEARING, (TurnAction.OPEN,)),
    (Phase.REPLYING, Signal.DONE): (Phase.WAITING, (TurnAction.CLOSE,)),
    (Phase.OVERHEARING, Signal.ANSWER): (Phase.REPLYING, (TurnAction.STOP, TurnAction.REPLY)),
    (Phase.OVERHEARING, Signal.INTERRUPT): (Phase.LISTENING, (TurnAction.STOP,)),
    (Phase.OVERHEARING, Signal.IGNORE): (Phase.REPLYING, (TurnAction.DROP,)),
    (Phase.OVERHEARING, Signal.LOST): (Phase.REPLYING, (TurnAction.DROP,)),
    (Phase.OVERHEARING, Signal.DONE): (Phase.LISTENING, (TurnAction.CLOSE,)),
}


def transition(phase: Phase, signal: Signal) -> tuple[Phase, tuple[TurnAction, ...]]:
    """The next phase and what to do; a signal that means nothing in a phase changes nothing."""
    return TRANSITIONS.get((phase, signal), (phase, ()))
