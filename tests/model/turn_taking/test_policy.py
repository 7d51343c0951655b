"""The turn-taking policy: loudness, echo and words decide on speech over a reply and on predicted ends of turns."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from fobench.api.types import AudioChunk
from reference_model.inference.conversation import UserTurnState
from reference_model.turn_taking.policy import TurnTakingPolicy, VoiceEvent
from reference_model.turn_taking.settings import TurnTakingSettings
from reference_model.turn_taking.state_machine import Signal, TurnAction

RATE, WINDOW = 16_000, 512
DUPLEX = TurnTakingSettings()
SURE = 0.0


@dataclass
class Detector:
    """A detector of whole windows, with a fixed probability of speech."""

    probability: float = 1.0

    def push(self, samples):
        yield samples, self.probability


def policy(**duplex):
    return TurnTakingPolicy(replace(DUPLEX, **duplex), Detector())


def speak(policy, level=0.2, windows=12, seed=0):
    draw = np.random.default_rng(seed)
    for _ in range(windows):
        list(policy.push(draw.normal(0, level, WINDOW).astype(np.float32)))
    return policy


def known(level=0.2, **duplex):
    """A policy that has answered a user; over the reply somebody begins to speak at `level`."""
    own = speak(policy(**duplex))
    own.follow((TurnAction.REPLY,), overlapping=False)
    speak(own, level, DUPLEX.onset).follow((TurnAction.BEGIN_TURN,), overlapping=True)
    return speak(own, level)


def barge_in(policy, text, speech):
    """The signal after `speech` windows of speech."""
    policy.activity.speech = speech
    return policy.barge_in(text)


def accept(policy, predicted, text, end_logprob, silence):
    """The signals after `silence` windows of silence."""
    policy.activity.silence = silence
    return policy.accept(predicted, text, end_logprob)


def test_a_window_is_the_onset_speech_silence_or_a_timeout():
    own = policy(onset=2, end=3, unfinished=5)
    events = []
    for probability in (1.0, 1.0, 1.0, *[0.0] * 6):
        own.detector.probability = probability
        events += [event for _, event in own.push(np.zeros(WINDOW, np.float32))]
    speech, onset, silence, timeout = VoiceEvent.SPEECH, VoiceEvent.ONSET, VoiceEvent.SILENCE, VoiceEvent.TIMEOUT
    assert events == [speech, onset, speech, silence, silence, timeout, silence, timeout, silence]


def test_where_the_state_head_alone_ends_turns_silence_never_times_out():
    own = policy(turn_end="head", end=1)
    own.detector.probability = 0.0
    assert [event for _, event in own.push(np.zeros(WINDOW, np.float32))] == [VoiceEvent.SILENCE]


def test_without_a_detector_every_chunk_is_an_onset():
    own, chunk = TurnTakingPolicy(DUPLEX), np.zeros(100, np.float32)
    [(samples, event)] = own.push(chunk)
    assert np.array_equal(samples, chunk) and event is VoiceEvent.ONSET and own.silent


def test_where_replies_stop_at_the_end_of_speech_nothing_said_over_them_is_a_barge_in():
    assert barge_in(known(barge_in_at="end"), "stop", 40) is None


def test_in_silence_nothing_is_a_barge_in():
    own = known()
    own.activity.silence = 1
    assert barge_in(own, "stop", 6) is None


@pytest.mark.parametrize(
    ("text", "speech", "signal"),
    [
        ("which city", 6, Signal.INTERRUPT),  # a barge-in request
        ("stop", 6, Signal.INTERRUPT),
        ("yeah", 6, None),  # a backchannel
        ("", 6, None),
        ("the green", 6, None),  # it may become anything
        ("Anna, did you", 12, None),  # addressed to somebody else
        ("the green house is", 12, Signal.INTERRUPT),
        ("the green", 36, None),
        ("the green", 40, Signal.INTERRUPT),  # forced barge-in
        ("", 40, None),  # a noise does not
        (None, 7, None),  # an adapter without a transcript
        (None, 8, Signal.INTERRUPT),
    ],
)
def test_words_over_a_reply_decide_whether_it_stops(text, speech, signal):
    assert barge_in(known(), text, speech) is signal


def test_the_words_are_checked_once_for_each_duration():
    own = known()
    assert barge_in(own, "the green", 6) is None
    assert barge_in(own, "which green", 7) is None  # between checks
    assert barge_in(own, "which green", 12) is Signal.INTERRUPT


def test_a_talker_further_away_than_the_user_neither_stops_a_reply_nor_is_answered():
    own = known(level=0.2 * 10 ** (-7 / 20))
    assert barge_in(own, "which city", 6) is None
    assert barge_in(own, "which city is it", 40) is None
    assert accept(own, Signal.ANSWER, "Which city is it?", SURE, 6) == (Signal.NO_INPUT,)


def test_a_user_who_is_a_little_softer_is_still_the_user():
    assert accept(known(level=0.2 * 10 ** (-3 / 20)), Signal.ANSWER, "Which one?", SURE, 6) == (Signal.ANSWER,)


def test_the_echo_is_recognized_and_cancelled():
    own, voice = policy(), np.random.default_rng(1).normal(0, 0.2, 40 * WINDOW).astype(np.float32)
    own.play(0, AudioChunk(voice, RATE))
    list(own.push(np.zeros(WINDOW, np.float32)))
    own.follow((TurnAction.BEGIN_TURN,), overlapping=True)
    delay, cleaned = 1000, []
    heard = np.concatenate([np.zeros(delay, np.float32), 0.1 * voice])
    for n in range(40):
        own.heard(0, (n + 1) * WINDOW, RATE)
        cleaned += [window for window, _ in own.push(heard[n * WINDOW : (n + 1) * WINDOW])]
        if n == 19:
            assert barge_in(own, "which city", 6) is Signal.NO_INPUT
    before, after = (np.sqrt(np.mean(np.square(cleaned[n]))) for n in (10, 30))
    assert after < 0.01 * before


@pytest.mark.parametrize(
    ("verdict", "text", "ends", "silence", "stands"),
    [
        (Signal.ANSWER, "Which city is it?", SURE, 6, (Signal.ANSWER,)),
        (Signal.ANSWER, "Please stop.", SURE, 6, (Signal.INTERRUPT, Signal.IGNORE)),
        (Signal.ANSWER, "To stop.", SURE, 6, (Signal.INTERRUPT, Signal.IGNORE)),  # misrecognized
        (Signal.ANSWER, "Oks that will do suns", SURE, 6, (Signal.INTERRUPT, Signal.IGNORE)),
        (Signal.ANSWER, "Wait, who was Max?", SURE, 6, (Signal.ANSWER,)),
        (Signal.ANSWER, "Oh, really?", SURE, 6, (Signal.IGNORE,)),
        (Signal.ANSWER, "A real.", SURE, 6, (Signal.IGNORE,)),
        (Signal.ANSWER, "Why?", SURE, 6, (Signal.ANSWER,)),
        (Signal.ANSWER, "Anna, have you seen it?", SURE, 6, (Signal.IGNORE,)),
        (Signal.ANSWER, "", SURE, 6, (Signal.IGNORE,)),
        (Signal.ANSWER, "So I was wondering, um", SURE, 6, ()),
        (Signal.ANSWER, "So I was wondering, um", SURE, 62, (Signal.ANSWER,)),
        (Signal.ANSWER, "Which city is known", SURE, 9, ()),  # no mark at its end: there may be more
        (Signal.ANSWER, "Which city is known", SURE, 10, (Signal.ANSWER,)),
        (Signal.ANSWER, "Which city is known.", -14.0, 10, ()),  # the LLM says that something is missing
        (Signal.ANSWER, "Which city is known", -14.0, 6, ()),
        (Signal.ANSWER, "Which city is known", -14.0, 62, (Signal.ANSWER,)),
        (Signal.ANSWER, None, -math.inf, 6, (Signal.ANSWER,)),
        (Signal.IGNORE, "Which city is it?", SURE, 6, (Signal.IGNORE,)),
    ],
)
def test_the_rules_decide_which_predictions_on_a_turn_over_a_reply_are_accepted(verdict, text, ends, silence, stands):
    assert accept(known(), verdict, text, ends, silence) == stands


@pytest.mark.parametrize(
    ("verdict", "text", "stands"),
    [
        (Signal.IGNORE, "Which city is it?", ()),  # a question that nothing speaks against is not ignored
        (Signal.IGNORE, "Oh, okay.", (Signal.IGNORE,)),
        (Signal.IGNORE, "", (Signal.IGNORE,)),
        (Signal.ANSWER, "Stop.", (Signal.ANSWER,)),  # there is nothing to stop
        (Signal.ANSWER, "Anna, have you seen it?", (Signal.ANSWER,)),
        (Signal.ANSWER, "Yes.", (Signal.ANSWER,)),
    ],
)
def test_with_no_reply_under_way_words_are_meant_for_the_system(verdict, text, stands):
    own = policy()
    own.follow((TurnAction.BEGIN_TURN,), overlapping=False)
    assert accept(speak(own), verdict, text, SURE, 6) == stands


def test_without_rules_every_lasting_sound_stops_a_reply_and_every_prediction_is_accepted():
    own = known(level=0.01, manners=False)
    assert barge_in(own, "yeah", 7) is None
    assert barge_in(own, "yeah", 8) is Signal.INTERRUPT
    assert accept(own, Signal.ANSWER, "Stop", -99.0, 0) == (Signal.ANSWER,)
    assert accept(own, Signal.IGNORE, "Which city is it?", SURE, 0) == (Signal.IGNORE,)


def test_the_end_of_turn_log_probability_is_that_of_any_end_token():
    def turn(following):
        return UserTurnState(None, None, None, deque(), 0, next=following)

    chances = torch.tensor([0.5, 0.2, 0.05, 0.25])
    assert turn(chances.log()).end_logprob({1, 2, 99}) == pytest.approx(
        math.log(0.25)
    )  # 99: an id that the model has no logit of
    assert turn(None).end_logprob({1}) == -math.inf


def test_a_reply_is_begun_early_only_to_a_turn_that_will_get_one():
    own = known()
    assert own.answerable("Which city is bigger", SURE)
    assert not own.answerable("Which city is the", SURE)  # more is to come
    assert not own.answerable("Which city is bigger", -math.inf)
    assert own.answerable(None, SURE)
    assert not known(0.02).answerable("Which city is bigger", SURE)  # somebody far away
    assert known(0.02, manners=False).answerable("Which city is bigger", SURE)
