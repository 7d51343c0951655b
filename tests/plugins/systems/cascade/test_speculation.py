"""The cascade's replies begun before the turn is known to be over: adopted, or discarded."""

from dataclasses import replace

import pytest

from fobench.api.types import Action, EventKind
from tests.plugins.systems.cascade.listener import TIMING, WORDS, Listener, in_a_reply, quiet, say


def works(listener):
    return [str(event.data.get("work", event.kind)) for _, event in listener.events]


def test_a_reply_is_ready_when_the_turn_is_over():
    """Nothing is computed after the decision, and the reply is that of a session that did not speculate."""
    patient = Listener(timing=replace(TIMING, speculate=False))
    eager = Listener()
    for listener in (patient, eager):
        listener.hear(say("Tell me about the sea.", 1000), quiet(700))
    after = works(eager)[works(eager).index("speech_end") :]
    assert after == ["speech_end", "transcript", "decision", *["adopted"] * 7]  # three tokens, their audio, the end
    assert "speculative first_token" in works(eager)
    assert {"adopted", "speculative first_token"}.isdisjoint(works(patient))
    assert eager.when(Action.SPEAK) == patient.when(Action.SPEAK)
    assert eager.mind.told == patient.mind.told
    emitted = [
        [(e.kind, e.data["reply"], e.data.get("text")) for _, e in one.events if "reply" in e.data]
        for one in (eager, patient)
    ]
    assert sorted(emitted[0], key=str) == sorted(emitted[1], key=str)
    assert (eager.queue, eager.voiced()) == (patient.queue, patient.voiced())


def test_a_reply_to_half_a_turn_is_discarded():
    listener = Listener().hear(
        say("Tell me about the sea.", 600), quiet(400), say("Which city is the capital of France?", 900)
    )
    assert "speculative audio" in works(listener)
    assert "adopted" not in works(listener)
    assert listener.did() == []
    listener.hear(quiet(700))
    assert listener.did() == ["speak"]
    whole = "Tell me about the sea. Which city is the capital of France?"
    assert [told[-1] for told in listener.mind.told] == [("user", "Tell me about the sea."), ("user", whole)]
    assert {e.data["reply"] for _, e in listener.events if e.kind is EventKind.AUDIO} == {0}
    assert listener.voiced().replace(".", "").split() == list(WORDS)


@pytest.mark.parametrize("words", ["So I was wondering, um", ""])
def test_no_reply_is_begun_to_an_open_sentence_or_to_none(words):
    listener = Listener().hear(say(words, 900), quiet(1200))
    assert listener.mind.told == []


def test_none_is_begun_to_a_stop_request_or_a_softer_voice():
    asked = in_a_reply()
    asked.hear(say("Stop, please.", 700), quiet(1000), say("Oh, really?", 800, level=0.02), quiet(1000))
    assert not any(work.startswith("speculative") for work in works(asked)[works(asked).index("decision") + 1 :])
    assert len(asked.mind.told) == 1


def test_the_second_question_is_answered_with_what_was_heard_of_the_first_reply():
    """The history of a speculative reply is that of an ordinary one, also after a barge-in."""
    patient = Listener(timing=replace(TIMING, speculate=False))
    eager = Listener()
    for listener in (patient, eager):
        listener.hear(say("Tell me about the sea.", 1000), quiet(1640))
        listener.hear(say("Which city is the capital of France?", 1200), quiet(700))
    assert works(eager)[-1] == "adopted"
    assert [len(told) for told in eager.mind.told] == [1, 3]
    assert eager.mind.told[-1][-1] == patient.mind.told[-1][-1]
    assert eager.session._history[::2] == patient.session._history[::2]
