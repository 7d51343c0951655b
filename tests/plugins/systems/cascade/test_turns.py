"""Whose turn it is in a conversation with the cascade: its session on parts whose every word is known."""

import pytest

from fobench.api.types import Action, EventKind
from tests.plugins.systems.cascade.listener import MS, RATE, WORDS, Listener, in_a_reply, quiet, say


@pytest.fixture
def asked():
    return in_a_reply()


def test_a_new_question_stops_the_reply_and_is_answered(asked):
    onset = asked.now * 1000 // RATE
    asked.hear(say("Which city is the capital of France?", 1200), quiet(700))
    assert asked.did() == ["speak", "yield", "speak"]
    assert asked.when(Action.YIELD) - onset <= 400
    history = asked.mind.told[-1]
    assert history[0] == ("user", "Tell me about the sea.")
    assert history[2] == ("user", "Which city is the capital of France?")
    heard = history[1][1]
    assert heard.startswith("word-a word-b")
    assert "word-i" not in heard  # of what was made, only what was heard


def test_a_short_sound_does_not_stop_it(asked):
    asked.hear(say("Uh-huh.", 300), quiet(2000))
    assert asked.did() == ["speak", "ignore"]
    assert asked.played == 2400 * MS
    assert len(asked.mind.told) == 1


def test_a_longer_backchannel_does_not_stop_it(asked):
    asked.hear(say("Oh, really?", 900), quiet(2000))
    assert asked.did() == ["speak", "ignore"]


def test_a_reply_that_a_listeners_words_stopped_goes_on(asked):
    asked.hear(say("Oh, really?", 1400), quiet(3500))
    assert asked.did() == ["speak", "yield", "ignore"]
    words = asked.voiced().replace(".", "").split()
    assert set(words) == set(WORDS)  # each was voiced, and what was not heard again
    ends = [e.data["reply"] for _, e in asked.events if e.kind is EventKind.REPLY_END]
    assert ends == [0, 0]
    asked.hear(say("Which city is the capital of France?", 1000), quiet(700))
    assert asked.mind.told[-1][1][1].replace(".", "").split() == list(WORDS)


@pytest.mark.parametrize("ms", [300, 700])
def test_stop_is_obeyed_and_not_answered(asked, ms):
    asked.hear(say("Stop, please.", ms), quiet(2000))
    assert asked.did() == ["speak", "yield", "ignore"]
    assert len(asked.mind.told) == 1
    asked.hear(say("Which city is the capital of France?", 1000), quiet(700))
    assert asked.did()[-1] == "speak"
    assert "word-l" not in asked.mind.told[-1][1][1]


def test_softer_speech_is_that_of_others(asked):
    asked.hear(say("Which city is the capital of France?", 1000, level=0.08), quiet(3000))
    assert "yield" not in asked.did()
    assert asked.played == 2400 * MS
    asked.hear(say("Which city is the capital of France?", 1000, level=0.08), quiet(1000))
    assert asked.did()[-1] == "ignore"
    assert len(asked.mind.told) == 1


def test_noise_without_a_word_does_not_stop_it(asked):
    asked.hear(say("", 1360), quiet(2000))
    assert "yield" not in asked.did()
    assert asked.played == 2400 * MS


def test_an_open_sentence_is_waited_for():
    listener = Listener().hear(say("So I was wondering, um", 900), quiet(1500))
    assert listener.did() == []
    listener.hear(say("Which city is the capital of France?", 1000), quiet(700))
    assert listener.did() == ["speak"]
    assert listener.mind.told[-1] == [("user", "So I was wondering, um Which city is the capital of France?")]


def test_an_open_sentence_is_not_waited_for_without_end():
    assert Listener().hear(say("So I was wondering, um", 900), quiet(2200)).did() == ["speak"]


@pytest.mark.parametrize("echo", [0.1, 0.5])
def test_an_echo_does_not_stop_the_reply(echo):
    listener = Listener(echo).hear(say("Tell me about the sea.", 1000), quiet(4500))
    assert listener.did() == ["speak"]
    assert listener.played == 2400 * MS


@pytest.mark.parametrize("echo", [0.1, 0.5])
def test_a_question_is_recognized_through_an_echo(echo):
    listener = Listener(echo).hear(say("Tell me about the sea.", 1000), quiet(1800))
    listener.hear(say("Which city is the capital of France?", 1200), quiet(700))
    assert listener.did() == ["speak", "yield", "speak"]
    assert listener.mind.told[-1][-1] == ("user", "Which city is the capital of France?")


def test_silence_is_left_alone():
    assert Listener().hear(quiet(5000)).events == []
