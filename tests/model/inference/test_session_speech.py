"""The speech of a live reply: normalized text, hidden states, sampling, packets."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import torch

from fobench.api.types import EventKind
from reference_model.checkpoint.loading import untrained
from reference_model.speech_output.packets import PacketSizes
from reference_model.speech_output.segmenter import Segment
from tests.support.live_talk import Talk, live, silence, sound


@torch.no_grad()
def said(system, text, number=0, seed=0, start=0):
    speech = system.speech(system.reply(number, seed), Segment(text, range(start, start)))
    return None if speech is None else speech.packet(20)


def test_packets_begin_short_and_grow():
    system = live()
    system.settings = replace(system.settings, packets=PacketSizes(first=5, later=15))
    talk = Talk(system).hear(sound(1.0)).hear(silence(3.0))
    hop = system.model.codec.config.hop
    sizes = [len(event.data["audio"].samples) // hop for event in talk.of(EventKind.AUDIO)]
    assert sizes[:3] == [5, 10, 15]
    assert [PacketSizes().size(0, n) for n in (0, 1, 2, 999)] == [20, 40, 40, 40]  # as published
    assert [PacketSizes().size(1, n) for n in (0, 1)] == [40, 40]
    assert [PacketSizes(8, 40).size(0, n) for n in range(5)] == [8, 16, 32, 40, 40]
    assert [PacketSizes(8, 40).size(2, n) for n in range(4)] == [16, 32, 40, 40]


def test_packet_sizes_change_no_audio():
    systems = [live(), live()]
    systems[1].settings = replace(systems[1].settings, packets=PacketSizes(first=3, later=11))
    whole, cut = (Talk(system).hear(sound(1.0)).hear(silence(3.0)) for system in systems)
    assert len(cut.of(EventKind.AUDIO)) > len(whole.of(EventKind.AUDIO)) > 1
    assert len(cut.audio()) == len(whole.audio())
    assert np.allclose(cut.audio(), whole.audio(), atol=1e-5)


@torch.no_grad()
def test_codes_are_drawn_in_small_units_of_work():
    system = live()
    speech = system.speech(system.reply(0, 0), Segment("Oh, is it?", range(0)))
    units = 1
    while not speech.draw(20, most=3):
        units += 1
    assert units == -(-(20 + system.model.codec.lookahead) // 3)
    assert torch.equal(speech.packet(20), said(system, "Oh, is it?"))
    talk = Talk(live()).hear(sound(1.0)).hear(silence(3.0))
    assert any(event.data.get("work") == "speech_tokens" for event in talk.events)


def test_the_published_model_says_what_the_published_rules_make_of_a_text():
    ours, theirs = live(), live()
    theirs.model = untrained("tiny").eval()
    theirs.model.config = replace(theirs.model.config, compat=True)
    assert torch.equal(said(theirs, "It is 3.14"), said(theirs, "It is 3:14。"))
    assert not torch.equal(said(ours, "It is 3.14"), said(ours, "It is 3:14。"))


def test_every_segment_is_drawn_in_its_own_way():
    """By conversation, reply and place: the same text is not said the same every time, but with the same seed it is."""
    system = live()
    ways = [{}, {"seed": 1}, {"number": 1}, {"start": 8}]
    made, again = ([said(system, "Oh, is it?", **way) for way in ways] for _ in range(2))
    assert all(map(torch.equal, made, again))
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(made, 2))


def test_segments_are_normalized_before_synthesis():
    system = live()
    assert torch.equal(said(system, "It costs **$5**."), said(system, "It costs five dollars."))
    assert not torch.equal(said(system, "It costs five."), said(system, "It costs five dollars."))
    assert said(system, " 😀\n") is None


@torch.no_grad()
def test_a_segment_is_synthesized_with_the_hidden_states_of_its_own_tokens():
    system, tokens = live(), range(2, 4)
    thoughts = list(torch.randn(6, 64, generator=torch.Generator().manual_seed(0)))

    def spoken(hidden):
        reply = system.reply(0, 0)
        reply.hidden = hidden
        return system.speech(reply, Segment("Oh, is it?", tokens)).packet(20)

    for i in range(6):
        other = [*thoughts[:i], -thoughts[i], *thoughts[i + 1 :]]
        assert torch.equal(spoken(other), spoken(thoughts)) is (i not in tokens)
