"""A live conversation with random weights: turns, caches and audio. The contents are noise."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from fobench.api.types import Action, AudioChunk, EventKind
from reference_model.checkpoint.loading import untrained
from reference_model.inference.llm_context import Role
from reference_model.inference.reply import GeneratedReply
from reference_model.turn_taking.state_head import TurnState
from reference_model.turn_taking.state_machine import Phase, TurnAction
from tests.support.live_talk import RATE, WINDOW, Talk, live, model, silence, sound
from tests.support.tiny_models import SHAPES


@pytest.fixture(scope="module", params=SHAPES)
def system(request):
    return live(request.param)


def test_a_question_gets_an_answer_in_text_and_sound(system):
    talk = Talk(system).hear(sound(1.0)).hear(silence(3.0))
    assert talk.actions() == [Action.SPEAK]
    kinds = [event.kind for event in talk.events]
    assert kinds.index(EventKind.SPEECH_START) < kinds.index(EventKind.STATE) < kinds.index(EventKind.TOKEN)
    assert talk.text()
    assert len(talk.audio()) > 0
    assert np.isfinite(talk.audio()).all()
    assert kinds.count(EventKind.REPLY_END) == 1


def test_silence_is_left_alone(system):
    talk = Talk(system).hear(silence(3.0))
    assert talk.events == []


def test_playback_begins_while_text_is_being_generated():
    system = live()
    system.settings = replace(system.settings, max_tokens=60, ahead_s=0.2)
    talk = Talk(system).hear(sound(1.0)).hear(silence(6.0))
    kinds = [e.kind for e in talk.events]
    last_token = len(kinds) - 1 - kinds[::-1].index(EventKind.TOKEN)
    assert kinds.index(EventKind.AUDIO) < last_token


def test_the_same_seed_says_the_same(system):
    one, other = (Talk(system, seed=3).hear(sound(1.0)).hear(silence(3.0)) for _ in range(2))
    assert one.text() == other.text()
    assert np.array_equal(one.audio(), other.audio())


@pytest.fixture(scope="module")
def whole(system):
    """A question and its reply, in chunks of 512 samples."""
    return Talk(system).hear(np.concatenate([sound(1.0), silence(3.0)]))


@pytest.mark.parametrize("size", [160, 1000, 2560])
def test_how_the_audio_is_cut_changes_nothing(system, whole, size):
    cut = Talk(system).hear(np.concatenate([sound(1.0), silence(3.0)]), size)
    assert cut.text() == whole.text()
    assert np.allclose(cut.states()[-1], whole.states()[-1], atol=1.1e-4)  # they are told to four places
    assert np.allclose(cut.audio(), whole.audio(), atol=1e-5)


def test_every_user_turn_begins_with_the_prompt_vectors():
    talk = Talk(live())
    for seed in range(2):
        talk.hear(sound(1.0, seed)).hear(silence(12.0))
    turns = [turn for turn in talk.session._state.context.turns if turn.role is Role.USER]
    assert len(turns) == 2
    for turn in turns:
        assert torch.equal(turn.rows[0][0, :4], model().prompt)
        assert turn.length > 4


@torch.no_grad()
@pytest.mark.parametrize("size", [160, 512, 1000])
def test_streamed_llm_inputs_equal_those_of_the_complete_recording(size):
    """From the audio before the onset on, through front end, encoder and adapter, however it is pushed."""
    murmur = np.random.default_rng(9).normal(0, 1e-4, 2 * RATE).astype(np.float32)
    wave = np.concatenate([murmur, sound(1.0)])
    talk = Talk(live()).hear(wave, size)
    (turn,) = talk.session._state.context.turns
    rows = torch.cat(turn.rows, 1)[:, 4:]  # behind the prompt
    encoder, chunks = model().encoder, rows.shape[1] // 2
    heard = len(wave) // size * size // WINDOW * WINDOW // 2560  # chunks in all
    features = encoder.front.offline(torch.from_numpy(wave)[None])
    begin = (heard - chunks) * encoder.chunk
    assert begin * 160 < 2 * RATE - 5 * 2560
    own, before = features[:, begin : heard * encoder.chunk], features[:, begin - encoder.context : begin]
    frames, _ = encoder(own, None, encoder.config.chunk, encoder.config.left_chunks, before)
    torch.testing.assert_close(rows, model().adapter(frames)[0], atol=1e-4, rtol=0)


def test_a_dropped_iterator_loses_nothing():
    system = live()
    wave = np.concatenate([sound(1.0), silence(6.0)])
    whole, dropped = Talk(system, listens=False).hear(wave), Talk(system, listens=False).hear(wave, steps=1)
    assert dropped.text() == whole.text()
    assert np.allclose(dropped.audio(), whole.audio(), atol=1e-5)


def test_a_barge_in_stops_the_reply_and_the_context_keeps_what_was_heard():
    talk = Talk(live(barge_in_at="onset")).hear(sound(1.0)).hear(silence(1.2))
    assert talk.actions() == [Action.SPEAK]
    talk.hear(sound(1.0, seed=1))
    assert talk.actions() == [Action.SPEAK, Action.YIELD]
    state = talk.session._state
    assert state.phase is Phase.LISTENING
    assert state.reply is None
    roles = [turn.role for turn in state.context.turns]
    remembered = state.context.turns[-2].length if len(roles) > 1 else 0
    assert 0 < remembered < len(talk.of(EventKind.TOKEN))
    assert roles == [Role.USER, Role.REPLY, Role.USER]
    talk.hear(silence(2.0))
    assert talk.actions() == [Action.SPEAK, Action.YIELD, Action.SPEAK]
    assert talk.text(1)


def test_a_backchannel_does_not_change_the_reply():
    quiet = Talk(live(barge_in_at="end")).hear(sound(1.0)).hear(silence(4.0))
    murmured = Talk(live(barge_in_at="end")).hear(sound(1.0)).hear(silence(1.2)).hear(sound(0.2)).hear(silence(2.6))
    assert murmured.actions() == [Action.SPEAK]
    assert murmured.text() == quiet.text()
    assert np.allclose(murmured.audio(), quiet.audio(), atol=1e-5)
    assert len(murmured.session._state.context.turns) == len(quiet.session._state.context.turns)


def test_an_interruption_may_be_judged_at_its_end():
    talk = Talk(live(barge_in_at="end")).hear(sound(1.0)).hear(silence(1.0)).hear(sound(0.8, seed=1))
    assert talk.actions() == [Action.SPEAK]
    talk.hear(silence(1.5))
    assert talk.actions() == [Action.SPEAK, Action.YIELD, Action.SPEAK]


def test_a_turn_over_a_reply_follows_what_was_heard_of_it():
    """At the onset the user had heard some of the reply, at their end more: each is what the LLM has of it by then."""
    talk = Talk(live(barge_in_at="end")).hear(sound(1.0)).hear(silence(1.2)).hear(sound(0.5, seed=1))
    state, reply = talk.session._state, talk.session._state.reply
    at_onset, thought = state.overlap.turns[1].length, state.context.turns[1].length
    assert [turn.role for turn in state.overlap.turns] == [Role.USER, Role.REPLY, Role.USER]
    assert 0 < at_onset < thought
    talk.hear(sound(1.0, seed=2)).hear(silence(1.0))
    assert talk.actions() == [Action.SPEAK, Action.YIELD, Action.SPEAK]
    assert at_onset < reply.heard_tokens() <= thought
    assert state.context.turns[1].length == reply.heard_tokens()
    assert [turn.role for turn in state.context.turns[:3]] == [Role.USER, Role.REPLY, Role.USER]


def test_speech_before_the_reply_was_heard_continues_the_turn():
    talk = Talk(live(), listens=False).hear(sound(1.0)).hear(silence(0.7)).hear(sound(1.0, seed=1))
    assert talk.actions() == [Action.SPEAK, Action.YIELD]
    assert [turn.role for turn in talk.session._state.context.turns] == [Role.USER]
    talk.hear(silence(1.0))
    assert talk.actions() == [Action.SPEAK, Action.YIELD, Action.SPEAK]


def test_a_reply_that_was_played_to_its_end_is_closed():
    talk = Talk(live()).hear(sound(1.0)).hear(silence(20.0))
    assert talk.session._state.phase is Phase.WAITING
    assert talk.session._state.reply is None
    talk.hear(sound(1.0)).hear(silence(3.0))
    assert talk.actions() == [Action.SPEAK, Action.SPEAK]


def verdict(state, **duplex):
    """A system whose state head always says `state`."""
    system = live(**{"turn_end": "head", **duplex})
    system.model = untrained("tiny").eval()
    always_say(system, state)
    return system


@torch.no_grad()
def always_say(system, state):
    system.model.state_head.linear.weight.zero_()
    system.model.state_head.linear.bias.copy_(torch.nn.functional.one_hot(torch.tensor(state), 4) * 9.0)


def test_who_is_still_owed_an_answer_gets_it_even_if_what_they_add_needs_none():
    system = verdict(0, turn_end="either")
    talk = Talk(system, listens=False).hear(sound(1.0)).hear(silence(0.7)).hear(sound(0.4, seed=1))
    assert talk.actions() == [Action.SPEAK, Action.YIELD]
    always_say(system, 2)
    talk.hear(sound(0.4, seed=2))
    assert talk.actions()[:3] == [Action.SPEAK, Action.YIELD, Action.SPEAK]


def test_a_turn_holds_the_audio_from_shortly_before_its_onset():
    lengths = []
    for pre_roll in (6, 0):
        talk = Talk(live(pre_roll=pre_roll)).hear(silence(2.0)).hear(sound(1.0))
        lengths.append(talk.session._state.context.turns[0].length)
    assert lengths[0] - lengths[1] == 6 * 2  # rows, two a chunk


def test_without_a_detector_the_state_head_alone_decides():
    """A head that says `answer` does so at the first chunk; one that says `ignore` leaves no trace in the context."""
    for state, action in ((1, Action.SPEAK), (2, Action.IGNORE)):
        system = verdict(state)
        system.detectors = None
        talk = Talk(system).hear(sound(0.5))
        assert talk.actions()[0] == action
        if action is Action.IGNORE:
            assert talk.session._state.context.turns == []


def test_with_a_detector_the_state_head_judges_no_audio_from_before_the_onset():
    talk = Talk(verdict(1)).hear(silence(2.0)).hear(sound(0.12))
    assert talk.actions() == []  # the first chunk with speech in it is not yet whole
    talk.hear(sound(0.3))
    assert talk.actions() == [Action.SPEAK]


@pytest.mark.parametrize("state", [1, 2])
def test_a_prediction_during_speech_is_not_accepted_with_a_minimum_silence(state):
    system = verdict(state)
    system.settings = replace(system.settings, duplex=replace(system.settings.duplex, heed=5))
    talk = Talk(system).hear(sound(1.0))
    assert talk.actions() == []
    talk.hear(silence(0.4))
    assert talk.actions() == [Action.SPEAK if state == 1 else Action.IGNORE]


def test_a_prediction_in_silence_holds_until_it_is_accepted_unless_there_is_more_speech(monkeypatch):
    system = verdict(0)
    system.settings = replace(system.settings, duplex=replace(system.settings.duplex, heed=12))
    talk = Talk(system)

    def decide(p):
        return TurnState.ANSWER if 0 < talk.session._state.policy.activity.silence < 6 else TurnState.KEEP_LISTENING

    monkeypatch.setattr(system.model.state_head, "decide", decide, raising=False)
    talk.hear(sound(1.0)).hear(silence(0.3)).hear(sound(0.5, 1))
    assert talk.actions() == [] and not talk.session._state.turn.over  # they went on
    talk.hear(silence(0.3))
    assert talk.actions() == [] and talk.session._state.turn.over
    talk.hear(silence(0.2))
    assert talk.actions() == [Action.SPEAK]


@pytest.mark.parametrize("waiting", [(), (TurnAction.STOP, TurnAction.REPLY)])
def test_a_reply_that_is_to_be_stopped_is_not_also_closed(waiting, monkeypatch):
    """Its end, heard while the stop waits to be done, would otherwise end the reply that follows."""
    talk = Talk(verdict(1)).hear(sound(1.0)).hear(silence(1.0))
    session = talk.session
    assert session._state.reply is not None and session._state.phase is Phase.REPLYING
    monkeypatch.setattr(GeneratedReply, "over", property(lambda reply: True))
    session._actions.extend((act, None) for act in waiting)
    session._listen(AudioChunk(silence(0.032), RATE))
    acts = [act for act, _ in session._actions]
    assert (acts, session._state.phase) == (
        (list(waiting), Phase.REPLYING) if waiting else ([TurnAction.CLOSE], Phase.WAITING)
    )


def test_a_turn_that_never_ends_is_given_up():
    system = verdict(0)
    system.settings = replace(system.settings, max_turn_rows=30)
    talk = Talk(system).hear(sound(1.0)).hear(silence(3.0))
    assert talk.actions() == []
    assert talk.session._state.phase is Phase.WAITING
    assert talk.session._state.context.turns == []


def test_sessions_side_by_side_are_each_as_alone():
    system = live()
    waves = [np.concatenate([sound(0.8, seed), silence(2.0)]) for seed in range(3)]
    alone = [Talk(system, seed).hear(wave) for seed, wave in enumerate(waves)]
    beside = [Talk(system, seed) for seed in range(3)]
    threads = [threading.Thread(target=t.hear, args=(w,)) for t, w in zip(beside, waves, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, beside, strict=True):
        assert other.text() == one.text()
        assert np.allclose(other.states(), one.states(), atol=1.1e-4)  # they are told to four places
        assert np.allclose(other.audio(), one.audio(), atol=1e-4)


def test_a_conversation_longer_than_the_llms_context_goes_on():
    system = live()
    system.backbone.context, before = 200, system.backbone.context
    try:
        talk = Talk(system)
        for seed in range(5):
            talk.hear(sound(1.0, seed)).hear(silence(12.0))
        assert talk.actions() == [Action.SPEAK] * 5
        assert talk.session._state.context.length <= 200
    finally:
        system.backbone.context = before


@pytest.mark.slow  # a minute or two
def test_ten_minutes_in_a_minute_costs_what_the_second_one_did():
    """The encoder's caches are of one size, and the LLM's forgets: nothing that is worked on grows with the conversation."""
    system = live()
    system.backbone.context, before = 400, system.backbone.context
    talk, costs = Talk(system), []
    try:
        for _ in range(10):
            began = time.thread_time()
            for seed in range(4):
                talk.hear(sound(2.0, seed)).hear(silence(13.0))
            costs.append(time.thread_time() - began)
    finally:
        system.backbone.context = before
    assert talk.actions() == [Action.SPEAK] * 40
    assert min(costs[-2:]) < 1.25 * max(costs[1:3])


def test_the_backbone_is_as_it_was():
    system = live()
    before = system.backbone.parameter_hash()
    Talk(system).hear(sound(1.0)).hear(silence(2.0))
    assert system.backbone.parameter_hash() == before
    assert not any(p.requires_grad for p in system.backbone.model.parameters())


def test_the_text_route_answers_in_text():
    answer = live().answer([{"role": "user", "content": "Who is there?"}], seed=0)
    assert isinstance(answer, str)
    assert answer
