"""The silence splitter: where audio is cut."""

from __future__ import annotations

import pytest
import torch

from reference_model.speech_output.silence_splitter import LeadingSilence, SilenceSplitConfig, SilenceSplitter

RULE = SilenceSplitConfig(window=5, threshold=0.1)


def sound(length, *quiet):
    """Full scale, with silence at the given samples."""
    wave = torch.ones(length)
    wave[list(quiet)] = 0.0
    return wave


def test_the_softest_sample_of_the_quietest_stretch_of_the_second_half():
    wave = sound(40, *range(25, 30))
    wave[25:30] = torch.tensor([0.01, 0.02, 0.001, 0.03, 0.04])
    assert RULE.place(wave) == 27


def test_nothing_is_cut_in_the_first_half_or_where_it_is_loud():
    assert RULE.place(sound(40, *range(5, 10))) is None
    assert RULE.place(sound(40)) is None


def test_a_piece_shorter_than_the_window_is_never_cut():
    assert RULE.place(torch.zeros(4)) is None


def test_the_softest_sample_is_also_sought_behind_the_window():
    wave = sound(40)
    wave[25:30] = 0.01
    wave[30:35] = torch.tensor([0.9, 0.9, 0.9, 0.0, 0.9])
    assert RULE.place(wave) == 33  # the window at 25 lies 7 samples behind the first, so 7 more are searched


def test_pieces_are_held_back_until_a_quiet_place():
    cutter = SilenceSplitter(RULE)
    loud, quiet, end = sound(40), sound(40, *range(25, 30)), sound(3)
    assert len(cutter.push(loud)) == 0
    assert len(cutter.push(quiet)) == 40 + 25
    assert torch.equal(cutter.push(end, last=True), torch.cat([quiet[25:], end]))
    assert len(cutter.push(torch.zeros(0), last=True)) == 0


def test_what_is_held_back_is_never_changed():
    _, held = RULE.step(sound(40))
    first, _ = RULE.step(sound(5), held, last=True)
    again, _ = RULE.step(sound(7), held, last=True)
    assert (len(first), len(again)) == (45, 47)


@pytest.mark.parametrize("size", [1, 4, 7, 30])
def test_a_stream_begins_with_its_first_sound(size):
    wave = torch.tensor([0.0] * 12 + [0.001, 0.5, 0.0, 0.0, 0.3] + [0.0] * 6)
    for kept in (0, 3):
        stream = LeadingSilence(kept)
        parts = wave.split(size)
        made = torch.cat([stream.push(part, part is parts[-1]) for part in parts])
        assert torch.equal(made, wave[13 - kept :])


def test_a_silent_stream_is_left_out():
    assert not len(LeadingSilence(3).push(torch.zeros(9), last=True))
