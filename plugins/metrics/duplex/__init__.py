"""Turn-taking metrics of full-duplex scenarios: the factories. Heavy imports happen inside them."""

from __future__ import annotations

from fobench.api.components import Metric


def takeover_rate() -> Metric:
    """Takeover rate (TOR): share of scenarios in which the system takes the turn.

    A takeover is a reply with at least 1 s of audible speech, or of more than 3 words (after Full-Duplex-Bench, arXiv
    2503.04721).
    """
    from fobench_plugins.metrics.duplex import turn_taking

    return turn_taking.ScenarioRate("takeover_rate", "none", turn_taking.takes_over, version=2)


def pause_takeover_rate() -> Metric:
    """Premature end of turn: share of scenarios with a pause inside the user's turn in which the system takes the turn
    there.

    A takeover as in `takeover_rate`, of speech that is audible in the pause or in the rest of the turn.
    """
    from fobench_plugins.metrics.duplex import turn_taking

    return turn_taking.ScenarioRate("pause_takeover_rate", "lower", turn_taking.takes_over_in_pause, version=3)


def turn_success() -> Metric:
    """Turn-taking success rate: share of scenarios in which the system is silent in the user's turn and speaks in its
    own.

    Both must hold: no audible speech while the user holds the floor (an interrupted reply ends within 2.0 s), and an
    audible reply after the question, which backchannels, side talk, background speech and noise do not end. Where the
    system has to listen to the end, it succeeds if it does not take the floor.
    """
    from fobench_plugins.metrics.duplex import turn_taking

    return turn_taking.ScenarioRate("turn_success", "higher", turn_taking.turn_succeeds, version=4)


def interrupts_user_rate() -> Metric:
    """False cut-in rate: share of scenarios in which the system begins to be audible while the user holds the floor."""
    from fobench_plugins.metrics.duplex import turn_taking

    return turn_taking.ScenarioRate("interrupts_user_rate", "lower", turn_taking.interrupts_user, version=3)


def early_reply_rate() -> Metric:
    """Early replies: share of the replies to a question that are audible before the end of the user's turn."""
    from fobench_plugins.metrics.duplex import turn_taking

    return turn_taking.ScenarioRate("early_reply_rate", "lower", turn_taking.replies_early)


def no_reply_rate() -> Metric:
    """Unanswered questions: share of the questions that get no audible reply."""
    from fobench_plugins.metrics.duplex import turn_taking

    return turn_taking.ScenarioRate("no_reply_rate", "lower", turn_taking.leaves_unanswered)


def response_after_interrupt() -> Metric:
    """Accuracy after barge-in: share of interruptions by a new question that are answered correctly, matched as in
    `accuracy_s2s`.
    """
    from fobench_plugins.metrics.duplex import turn_taking

    return turn_taking.ScenarioRate("response_after_interrupt", "higher", turn_taking.answers_interruption, version=2)


def yield_rate() -> Metric:
    """Barge-in success rate: share of interruptions of an audible reply after which the system decides to stop
    within 2.0 s.
    """
    from fobench_plugins.metrics.duplex import barge_in, floor_spans

    return barge_in.SoundRate(
        "yield_rate", "higher", floor_spans.interruptions, barge_in.yields_to_interruption, version=2
    )


def false_yield_rate() -> Metric:
    """False barge-in rate: share of sounds that do not claim the floor for which the system stops its reply.

    The sounds are backchannels, side talk, background speech and noise over an audible reply; a stop counts up to 2.0 s
    after the sound's end.
    """
    from fobench_plugins.metrics.duplex import barge_in, floor_spans

    return barge_in.SoundRate("false_yield_rate", "lower", floor_spans.non_claiming, barge_in.yields_falsely)


def resume_rate() -> Metric:
    """Share of sounds that do not claim the floor through which the system continues its reply, or resumes the same
    one.

    The sounds are those of `false_yield_rate`. A reply is resumed if it is audible for more than 1 s after the decision
    to stop.
    """
    from fobench_plugins.metrics.duplex import barge_in, floor_spans

    return barge_in.SoundRate("resume_rate", "higher", floor_spans.non_claiming, barge_in.keeps_reply)


def state_f1() -> Metric:
    """Macro F1 of the turn states 0, 1, 2 that the system predicts; one case per user utterance.

    0: the user goes on; 1: the turn is over, reply; 2: the turn is over, do not reply (arXiv 2411.00774, section 3.4).
    F1 of a state is 2 TP / (2 TP + FP + FN), averaged over the true states that occur; precision, recall, F1 and support
    of each state and the confusion matrix are in detail.
    """
    from fobench_plugins.metrics.duplex.states import StateF1

    return StateF1("state_f1", "states")


def decision_f1() -> Metric:
    """Macro F1 of the system's decisions, as `state_f1`: to speak (1), to ignore (2), or none (0)."""
    from fobench_plugins.metrics.duplex.states import StateF1

    return StateF1("decision_f1", "decisions")


def state_delay_chunks() -> Metric:
    """Delay of the predicted turn state: input chunks from the true end of the user's utterance to the first state 1 or
    2.

    Median in chunks of the predictions from the end on; earlier ones are counted beside it (`early`, `early_share`).
    """
    from fobench_plugins.metrics.duplex.states import StateDelay

    return StateDelay()


NAMED = (
    *(takeover_rate, pause_takeover_rate, turn_success, interrupts_user_rate, early_reply_rate, no_reply_rate),
    *(yield_rate, false_yield_rate, resume_rate, response_after_interrupt),
    *(state_f1, decision_f1, state_delay_chunks),
)
