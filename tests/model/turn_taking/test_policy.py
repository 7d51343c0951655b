"""Manners beside the state head: what loudness, the own voice and the words make of sounds over a reply and of verdicts."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
import torch

from fobench.api.types import AudioChunk
from reference_model.inference.conversation import UserTurnState
from reference_model.turn_taking.echo_canceller import EchoCanceller
from reference_model.turn_taking.policy import TurnTakingPolicy
from reference_model.turn_taking.settings import TurnTakingSettings
from reference_model.turn_taking.state_machine import Signal

RATE, WINDOW = 16_000, 512
DUPLEX = TurnTakingSettings()
SURE = 0.0


def floor(**duplex):
    return TurnTakingPolicy(replace(DUPLEX, **duplex), EchoCanceller(RATE))


def speak(floor, level=0.2, windows=12, seed=0):
    draw = np.random.default_rng(seed)
    for _ in range(windows):
        floor.push(floor.clean(draw.normal(0, level, WINDOW).astype(np.float32)), True)
    return floor


def known(level=0.2, **duplex):
    """One that has answered a user, over whose reply somebody begins to speak as loud as `level`."""
    own = speak(floor(**duplex))
    own.answered()
    speak(own, level, DUPLEX.onset).open(over=True)
    return speak(own, level)


@pytest.mark.parametrize(
    ("text", "speech", "signal"),
    [
        ("which city", 6, Signal.INTERRUPT),  # words that claim the floor
        ("stop", 6, Signal.INTERRUPT),
        ("yeah", 6, None),  # a listener's
        ("", 6, None),
        ("the green", 6, None),  # it may become anything
        ("Anna, did you", 12, None),  # called is somebody else
        ("the green house is", 12, Signal.INTERRUPT),
        ("the green", 36, None),
        ("the green", 40, Signal.INTERRUPT),  # who goes on for long means it
        ("", 40, None),  # a noise does not
        (None, 7, None),  # an adapter that does not spell
        (None, 8, Signal.INTERRUPT),
    ],
)
def test_what_is_said_over_a_reply_stops_it_by_its_words(text, speech, signal):
    assert known().interrupts(text, speech) is signal


def test_each_look_at_the_words_is_one():
    own = known()
    assert own.interrupts("the green", 6) is None
    assert own.interrupts("which green", 7) is None  # between looks
    assert own.interrupts("which green", 12) is Signal.INTERRUPT


def test_who_is_further_away_than_the_user_stops_nothing_and_is_not_answered():
    own = known(level=0.2 * 10 ** (-7 / 20))
    assert own.interrupts("which city", 6) is None
    assert own.interrupts("which city is it", 40) is None
    assert own.verdict(Signal.ANSWER, "Which city is it?", SURE, 6) == (Signal.LOST,)


def test_a_user_who_is_a_little_softer_is_still_the_user():
    assert known(level=0.2 * 10 ** (-3 / 20)).verdict(Signal.ANSWER, "Which one?", SURE, 6) == (Signal.ANSWER,)


def test_the_own_voice_is_recognised_and_taken_out():
    own, voice = floor(), np.random.default_rng(1).normal(0, 0.2, 40 * WINDOW).astype(np.float32)
    own.play(0, AudioChunk(voice, RATE))
    own.clean(np.zeros(WINDOW, np.float32))
    own.open(over=True)
    delay, cleaned = 1000, []
    heard = np.concatenate([np.zeros(delay, np.float32), 0.1 * voice])
    for n in range(40):
        own.heard(0, (n + 1) * WINDOW, RATE)
        cleaned.append(own.clean(heard[n * WINDOW : (n + 1) * WINDOW]))
        own.push(cleaned[-1], True)
        if n == 19:
            assert own.interrupts("which city", 6) is Signal.LOST
    before, after = (np.sqrt(np.mean(np.square(cleaned[n]))) for n in (10, 30))
    assert after < 0.01 * before


@pytest.mark.parametrize(
    ("verdict", "text", "ends", "silence", "stands"),
    [
        (Signal.ANSWER, "Which city is it?", SURE, 6, (Signal.ANSWER,)),
        (Signal.ANSWER, "Please stop.", SURE, 6, (Signal.INTERRUPT, Signal.IGNORE)),
        (Signal.ANSWER, "To stop.", SURE, 6, (Signal.INTERRUPT, Signal.IGNORE)),  # misheard
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
def test_a_verdict_on_what_came_over_a_reply_stands_as_far_as_manners_let_it(verdict, text, ends, silence, stands):
    assert known().verdict(verdict, text, ends, silence) == stands


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
    own = floor()
    own.open(over=False)
    assert speak(own).verdict(verdict, text, SURE, 6) == stands


def test_without_manners_every_sound_that_lasts_stops_a_reply_and_every_verdict_stands():
    own = known(level=0.01, manners=False)
    assert own.interrupts("yeah", 7) is None
    assert own.interrupts("yeah", 8) is Signal.INTERRUPT
    assert own.verdict(Signal.ANSWER, "Stop", -99.0, 0) == (Signal.ANSWER,)
    assert own.verdict(Signal.IGNORE, "Which city is it?", SURE, 0) == (Signal.IGNORE,)


def test_how_complete_a_turn_is_to_the_llm_is_the_chance_of_any_end():
    def hearing(following):
        return UserTurnState(None, None, None, torch.zeros(1), following, deque(), 0)

    chances = torch.tensor([0.5, 0.2, 0.05, 0.25])
    assert hearing(chances.log()).ends({1, 2, 99}) == pytest.approx(
        math.log(0.25)
    )  # 99: an id that the model has no logit of
    assert hearing(None).ends({1}) == -math.inf
