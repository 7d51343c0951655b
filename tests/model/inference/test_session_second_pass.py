"""The second pass in a live conversation: when it runs, and that the LLM gets its transcript."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fobench.api.types import EventKind
from reference_model.config import ModelConfig
from reference_model.inference.llm_context import Role
from reference_model.model import FreezeOmni
from reference_model.speech_input.bpe_units import BPEUnits
from reference_model.speech_input.ctc_adapter import CTCAdapterConfig
from reference_model.speech_input.second_pass import SecondPassConfig
from reference_model.speech_input.whisper_encoder import WhisperConfig
from tests.support.live_talk import Talk, live, model, silence, sound

UNITS = BPEUnits.letters_only()


@pytest.fixture(scope="module")
def twice():
    """A tiny model that hears with a streaming encoder, and again with another: both random, so they read different letters."""
    torch.manual_seed(0)
    encoder = WhisperConfig(32, 1, 2)
    made = FreezeOmni(
        replace(
            ModelConfig.load("tiny"),
            encoder=encoder,
            adapter=CTCAdapterConfig(32, UNITS.merges, hidden=32),
            rereader=SecondPassConfig(len(UNITS), 32, 32, size=32, heads=2, layers=1),
            prompts=0,
            state_middle=0,
        )
    ).eval()
    made.rereader._encoder.append(encoder.build().eval())
    with torch.no_grad():
        for spell in (made.adapter.spell, made.rereader.spell):
            spell.weight.mul_(20.0)  # so that some letters are read, and not the same all the time
    made.decoder, made.codec = model().decoder, model().codec
    system = live()
    return replace_model(system, made)


def replace_model(system, made):
    return type(system)(made, system.backbone, system.settings, system.detectors)


def rereads(talk):
    return [i for i, event in enumerate(talk.events) if event.data.get("work") == "reread"]


def test_the_second_pass_runs_once_the_turn_may_be_over_and_decides_the_transcript(twice):
    talk = Talk(twice).hear(sound(1.0)).hear(silence(0.5))
    assert len(rereads(talk)) == 1
    assert not any(event.kind is EventKind.TOKEN for event in talk.events)
    turn = talk.session._state.turn
    talk.hear(silence(2.5))
    assert len(rereads(talk)) == 1  # nothing more was said
    [told] = [event.data["text"] for event in talk.events if event.kind is EventKind.TRANSCRIPT]
    assert told == turn.reader.second_pass != UNITS.decode(turn.reader.greedy)
    parts = [zip(*turn.outputs[:n], strict=True) for n in range(1, len(turn.outputs) + 1)]
    read = [twice.model.reread(*(torch.cat(side, 1) for side in part)) for part in parts]
    assert turn.reader.second_pass in read
    [fed] = [turn for turn in talk.session._state.context.turns if turn.role is Role.USER]
    wanted = twice.backbone.embed(torch.tensor([twice.backbone.encode(told)]))
    assert torch.equal(torch.cat(fed.rows, 1), wanted)


def test_further_speech_resets_the_second_pass(twice):
    talk = Talk(twice).hear(sound(1.0)).hear(silence(0.4)).hear(sound(0.5, 1))
    assert len(rereads(talk)) == 1
    assert talk.session._state.turn.reader.second_pass is None  # it was not all
    talk.hear(silence(3.0))
    assert len(rereads(talk)) == 2
    assert sum(event.kind is EventKind.TRANSCRIPT for event in talk.events) == 1


def test_the_second_pass_runs_before_the_reply_to_a_turn_that_ends_at_once(twice):
    hasty = replace(twice.settings, duplex=replace(twice.settings.duplex, end=4, reread=99))
    system = type(twice)(twice.model, twice.backbone, hasty, twice.detectors)
    talk = Talk(system).hear(sound(1.0)).hear(silence(2.0))
    kinds = [event.kind for event in talk.events]
    assert len(rereads(talk)) == 1
    assert rereads(talk)[0] < kinds.index(EventKind.TOKEN)


def test_without_a_second_pass_none_is_run():
    talk = Talk(live()).hear(sound(1.0)).hear(silence(3.0))
    assert rereads(talk) == []
