"""The transition table of the turn-taking state machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_model.turn_taking.state_machine import TRANSITIONS, Phase, Signal, TurnAction, transition


def walk(*signals):
    phase, done = Phase.WAITING, []
    for signal in signals:
        phase, acts = transition(phase, signal)
        done += acts
    return phase, done


def test_a_question_is_heard_and_answered():
    assert walk(Signal.ONSET, Signal.ANSWER, Signal.DONE) == (
        Phase.WAITING,
        [TurnAction.BEGIN_TURN, TurnAction.REPLY, TurnAction.CLOSE],
    )


def test_what_needs_no_answer_is_forgotten():
    assert walk(Signal.ONSET, Signal.IGNORE) == (Phase.WAITING, [TurnAction.BEGIN_TURN, TurnAction.DROP])


def test_a_backchannel_leaves_the_reply_alone():
    phase, acts = walk(Signal.ONSET, Signal.ANSWER, Signal.ONSET, Signal.IGNORE)
    assert phase is Phase.REPLYING
    assert TurnAction.STOP not in acts


@pytest.mark.parametrize(
    ("signals", "acts"),
    [
        (
            (Signal.INTERRUPT, Signal.ANSWER),
            [TurnAction.STOP, TurnAction.REPLY],
        ),  # stopped at the onset, answered at the end
        ((Signal.ANSWER,), [TurnAction.STOP, TurnAction.REPLY]),  # stopped and answered at the end
    ],
)
def test_an_interruption_stops_the_reply_and_is_answered(signals, acts):
    phase, done = walk(Signal.ONSET, Signal.ANSWER, Signal.ONSET, *signals)
    assert phase is Phase.REPLYING
    assert done == [TurnAction.BEGIN_TURN, TurnAction.REPLY, TurnAction.BEGIN_TURN, *acts]


def test_a_reply_that_ends_under_the_users_words_leaves_them_the_turn():
    phase, acts = walk(Signal.ONSET, Signal.ANSWER, Signal.ONSET, Signal.DONE)
    assert (phase, acts[-1]) == (Phase.LISTENING, TurnAction.CLOSE)


@pytest.mark.parametrize("nothing", [Signal.IGNORE, Signal.NO_INPUT])
def test_what_comes_to_nothing_is_forgotten_and_a_reply_goes_on_under_it(nothing):
    assert transition(Phase.LISTENING, nothing) == (Phase.WAITING, (TurnAction.DROP,))
    assert transition(Phase.OVERLAP, nothing) == (Phase.REPLYING, (TurnAction.DROP,))


def test_an_interrupted_reply_stops_at_once_and_the_user_is_listened_to():
    assert transition(Phase.OVERLAP, Signal.INTERRUPT) == (Phase.LISTENING, (TurnAction.STOP,))


MEANINGS = {
    Phase.WAITING: {Signal.ONSET},
    Phase.LISTENING: {Signal.ANSWER, Signal.IGNORE, Signal.NO_INPUT},
    Phase.REPLYING: {Signal.ONSET, Signal.DONE},
    Phase.OVERLAP: set(Signal) - {Signal.ONSET},
}


@pytest.mark.parametrize(("phase", "signal"), [(p, s) for p in Phase for s in Signal if s not in MEANINGS[p]])
def test_a_signal_that_means_nothing_changes_nothing(phase, signal):
    assert transition(phase, signal) == (phase, ())


@given(st.lists(st.sampled_from(Signal), max_size=40))
def test_whatever_happens_turns_and_replies_are_balanced(signals):
    """A turn is open exactly while it is heard, a reply exactly while it is made: nothing is begun twice or lost."""
    phase, turn, reply = Phase.WAITING, False, False
    for signal in signals:
        phase, acts = transition(phase, signal)
        for act in acts:
            if act is TurnAction.BEGIN_TURN:
                assert not turn
                turn = True
            elif act is TurnAction.DROP:
                assert turn
                turn = False
            elif act is TurnAction.REPLY:
                assert turn and not reply
                turn, reply = False, True
            else:
                assert reply
                reply = False
        assert turn == (phase in (Phase.LISTENING, Phase.OVERLAP))
        assert reply == (phase in (Phase.REPLYING, Phase.OVERLAP))


def test_every_phase_can_be_left():
    assert {phase for phase, _ in TRANSITIONS} == set(Phase)
