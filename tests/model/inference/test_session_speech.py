"""The speech of a live reply: normalized text, hidden states, sampling, packets."""

from __future__ import annotations

import itertools
from dataclasses import replace

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


def test_the_first_packet_is_short_and_later_ones_are_longer():
    system = live()
    system.settings = replace(system.settings, packets=PacketSizes(first=5, later=15))
    talk = Talk(system).hear(sound(1.0)).hear(silence(3.0))
    hop = system.model.codec.config.hop
    sizes = [len(event.data["audio"].samples) // hop for event in talk.of(EventKind.AUDIO)]
    assert sizes[:3] == [5, 15, 15]


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
