"""The resampler of live streams: pieces equal the whole, tones keep level and place, little is held back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.audio.stream_resampler import StreamResampler

RATES = [(24_000, 16_000), (16_000, 24_000), (8_000, 16_000), (24_000, 8_000), (22_050, 24_000), (48_000, 16_000)]


def whole(samples, rates):
    stream = StreamResampler(*rates)
    return np.concatenate([stream.push(samples), stream.finish()])


@given(st.sampled_from(RATES), st.lists(st.integers(0, 700), min_size=1, max_size=8), st.integers(0, 99))
def test_pieces_equal_the_whole(rates, lengths, seed):
    samples = np.random.default_rng(seed).uniform(-1, 1, sum(lengths)).astype(np.float32)
    stream, parts = StreamResampler(*rates), np.split(samples, np.cumsum(lengths)[:-1])
    joined = np.concatenate([*(stream.push(part) for part in parts), stream.finish()])
    assert len(joined) == -(-len(samples) * rates[1] // rates[0])
    np.testing.assert_allclose(joined, whole(samples, rates), atol=1e-6)


@pytest.mark.parametrize("rates", RATES, ids=str)
@pytest.mark.parametrize("hz", [100, 1000, 2800])
def test_a_tone_stays_what_and_where_it_is(rates, hz):
    wave = np.cos(2 * np.pi * hz * np.arange(rates[0]) / rates[0]).astype(np.float32)
    expected = np.cos(2 * np.pi * hz * np.arange(rates[1]) / rates[1])
    inner = slice(rates[1] // 10, -rates[1] // 10)
    np.testing.assert_allclose(whole(wave, rates)[inner], expected[inner], atol=0.01)


@pytest.mark.parametrize("rates", RATES, ids=str)
def test_what_is_held_back_is_short(rates):
    stream, chunk = StreamResampler(*rates), np.zeros(rates[0] // 50, np.float32)
    sent = sum(len(stream.push(chunk)) for _ in range(50))
    assert 1000 * (rates[1] - sent) / rates[1] < 2.6  # ms


@pytest.mark.parametrize("rates", [(24_000, 16_000), (48_000, 16_000)], ids=str)
def test_what_the_new_rate_cannot_hold_is_removed(rates):
    wave = np.cos(2 * np.pi * 10_500 * np.arange(rates[0]) / rates[0]).astype(np.float32)
    assert np.abs(whole(wave, rates)[200:-200]).max() < 0.01
