"""The echo canceller: an echo is recognized with its delay and gain, subtracted, and distinguished from other sounds."""

import numpy as np
import pytest

from fobench.api.types import AudioChunk
from reference_model.turn_taking.echo_canceller import EchoCanceller

RATE, OUT, CHUNK = 16_000, 24_000, 512


def noise(seconds, rate=RATE, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(int(seconds * rate))).astype(np.float32)


def playing(wave, begun=1600, upto=2 * RATE, late=()):
    """The own voice after `wave` was played from `begun` on, told chunk by chunk, `late` ones later."""
    own = EchoCanceller(RATE)
    own.play(0, AudioChunk(wave, RATE))
    for position in range(CHUNK, upto, CHUNK):
        now = position + (2000 if position // CHUNK in late else 0)
        own.heard(0, min(len(wave), max(0, now - begun)), RATE, position, CHUNK)
    return own


@pytest.mark.parametrize(("delay", "gain"), [(160, 0.5), (1280, 0.1), (7900, 1.0)])
def test_an_echo_is_recognized_and_taken_out(delay, gain):
    wave = noise(3)
    own = playing(wave)
    heard = np.zeros(4 * RATE, np.float32)
    heard[1600 + delay : 1600 + delay + len(wave)] = gain * wave[: len(heard) - 1600 - delay]
    assert own.recognize(heard[RATE : RATE + 6000], RATE)
    assert own.delay == delay
    assert own.gain == pytest.approx(gain, rel=1e-3)
    assert np.abs(own.clean(heard[2 * RATE : 3 * RATE], 2 * RATE)).max() < 1e-4


def test_another_voice_is_not_the_own():
    own = playing(noise(3))
    assert not own.recognize(noise(0.4, seed=9), RATE)
    assert own.clean(noise(0.4, seed=9), RATE) is not None
    assert own.gain == 0


def test_a_voice_over_the_echo_is_kept():
    wave, voice = noise(3), noise(1, seed=9)
    own = playing(wave)
    echo = 0.3 * wave[RATE - 1600 - 800 :][:RATE]
    assert own.recognize(echo[:6000], RATE)
    assert np.allclose(own.clean(echo + voice, RATE), voice, atol=1e-4)


def test_late_news_and_news_of_the_end_do_not_move_the_beginning():
    assert playing(noise(1), late=(9, 12)).start == playing(noise(1)).start == 1600


def test_silence_is_no_echo():
    own = EchoCanceller(RATE)
    assert not own.recognize(noise(0.4), RATE)
    own.play(0, AudioChunk(noise(1), RATE))
    assert not own.recognize(noise(0.4), RATE)  # made, and not yet played
