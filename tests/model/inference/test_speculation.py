"""Speculative replies: what is made of a reply before the turn is known to be over changes nothing but its time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fobench.api.types import Action, EventKind
from fobench.simulation.costs import ADOPTED
from reference_model.inference.engine import InferenceEngine
from reference_model.turn_taking.energy_vad import EnergyVAD
from tests.support.live_talk import WINDOW, Talk, hears_letters, live, silence, sound
from tests.support.tiny_models import backbone

MADE_EARLY = 0.6  # s of audio: more than the first packet
QUIET = (
    14  # windows of silence in the middle of a turn: long enough for a speculative reply, too short for an end of turn
)


@pytest.fixture(scope="module")
def engine() -> InferenceEngine:
    """A tiny model that hears letters, so that its LLM gets tokens."""
    made = hears_letters()
    settings = replace(live(manners=False, reread=4).settings, speculative_s=MADE_EARLY)
    return InferenceEngine(made, backbone("qwen2"), settings, EnergyVAD)


@pytest.fixture(scope="module")
def patient(engine) -> InferenceEngine:
    """The same without speculation."""
    return InferenceEngine(engine.model, engine.backbone, replace(engine.settings, speculative_s=0.0), engine.detectors)


def windows(seconds_or_count: int) -> np.ndarray:
    return silence((seconds_or_count * WINDOW + 1) / 16_000)


def early(talk: Talk) -> list[str]:
    return [e.data["work"] for e in talk.events if str(e.data.get("work")).startswith("speculative ")]


def told(talk: Talk) -> list[tuple[object, ...]]:
    """What a talk has told: the kinds of its events, but those of work, with their texts, decisions and states."""
    kept = [e for e in talk.events if e.kind is not EventKind.BUSY and e.kind is not EventKind.AUDIO]
    return [(e.kind, e.data.get("text"), e.data.get("reply"), e.data.get("action"), e.data.get("p1")) for e in kept]


def same_context(one: Talk, other: Talk) -> None:
    """The LLM's contexts are the same: turns, inputs, and what comes next."""
    contexts = [talk.session._state.context for talk in (one, other)]
    assert contexts[0].length == contexts[1].length
    for mine, its in zip(contexts[0].turns, contexts[1].turns, strict=True):
        assert (mine.role, mine.opening, mine.start) == (its.role, its.opening, its.start)
        assert all(torch.equal(a, b) for a, b in zip(mine.rows, its.rows, strict=True))
    forks = [context.fork() for context in contexts]
    following = [fork.extend(fork.embed([5]))[1] for fork in forks]
    assert torch.equal(following[0], following[1])


def test_a_reply_is_begun_before_the_verdict_and_adopted_as_it_is(engine, patient):
    wave = np.concatenate([sound(1.0), silence(4.0)])
    eager, waiting = Talk(engine).hear(wave), Talk(patient).hear(wave)
    assert early(eager)[:2] == ["speculative first_token", "speculative token"]
    assert "speculative audio" in early(eager)
    assert early(waiting) == []
    assert sorted(map(str, told(eager))) == sorted(map(str, told(waiting)))
    assert eager.text() == waiting.text() != ""
    assert np.array_equal(eager.audio(), waiting.audio())
    same_context(eager, waiting)
    decided = next(i for i, e in enumerate(eager.events) if e.kind is EventKind.DECISION)
    assert not any(e.data.get("reply") is not None for e in eager.events[:decided])
    adopted = [e for e in eager.events if e.data.get("work") == ADOPTED]
    assert {e.kind for e in adopted} == {EventKind.TOKEN, EventKind.AUDIO}
    at = eager.events.index(adopted[0])
    assert eager.events[decided + 1].kind is EventKind.TRANSCRIPT
    assert eager.events[at : at + len(adopted)] == adopted  # at once


def test_no_more_is_made_than_the_settings_say(engine):
    endless = replace(engine.settings, duplex=replace(engine.settings.duplex, end=60, unfinished=61))
    talk = Talk(InferenceEngine(engine.model, engine.backbone, endless, engine.detectors)).hear(sound(1.0))
    talk.hear(silence(1.5))
    made = talk.session._state.speculation.reply
    longest = engine.settings.packets.later * engine.model.codec.config.hop
    assert MADE_EARLY * talk.rate <= made.samples < MADE_EARLY * talk.rate + longest
    assert talk.audio().size == 0


@pytest.mark.parametrize("quiet", range(3, QUIET + 5))
@torch.no_grad()
def test_a_user_who_goes_on_finds_the_conversation_as_without_it(engine, patient, quiet):
    """The user resumes after every number of windows, before, during and after the speculation."""
    wave = np.concatenate([sound(0.8), windows(quiet), sound(0.6, seed=1)])
    eager, waiting = Talk(engine).hear(wave), Talk(patient).hear(wave)
    same_context(eager, waiting)
    assert early(waiting) == []
    assert bool(early(eager)) is (quiet >= 4)
    assert told(eager) == told(waiting)
    for talk in (eager, waiting):
        talk.hear(silence(3.0))
    assert eager.actions() == waiting.actions() == [Action.SPEAK]
    assert eager.text() == waiting.text()
    assert np.array_equal(eager.audio(), waiting.audio())
    same_context(eager, waiting)


def test_a_slow_machine_begins_a_reply_in_pieces(engine, patient):
    """One step per chunk of audio: the verdict comes before the reply is audible, and the rest follows."""
    wave = np.concatenate([sound(1.0), silence(6.0)])
    slow, whole = Talk(engine, listens=False).hear(wave, steps=1), Talk(patient, listens=False).hear(wave)
    assert early(slow)
    assert slow.text() == whole.text()
    assert np.allclose(slow.audio(), whole.audio(), atol=1e-5)


def test_a_short_reply_is_made_completely_and_ends_only_when_it_is_adopted(engine, patient):
    brief = [replace(each.settings, max_tokens=2, speculative_s=99.0 * (each is engine)) for each in (engine, patient)]
    systems = [InferenceEngine(engine.model, engine.backbone, settings, engine.detectors) for settings in brief]
    eager, waiting = (Talk(system).hear(sound(1.0)).hear(silence(4.0)) for system in systems)
    steps = early(eager)
    assert set(steps) == {
        f"speculative {name}" for name in ("first_token", "token", "speech_prefill", "speech_tokens", "audio")
    }
    assert [e.kind for e in eager.events].count(EventKind.REPLY_END) == 1
    assert eager.text() == waiting.text() != ""
    assert np.array_equal(eager.audio(), waiting.audio())


def test_a_dropped_turn_drops_its_reply(engine):
    talk = Talk(engine).hear(sound(1.0)).hear(windows(10))
    state = talk.session._state
    assert state.speculation is not None
    state.drop_turn(state.turn)
    assert state.speculation is None
    assert not state.context.turns


def test_embeddings_of_sounds_are_no_transcript_to_answer_early():
    system = live(reread=4)
    assert not system.hears_text
    assert early(Talk(system).hear(sound(1.0)).hear(silence(2.0))) == []
