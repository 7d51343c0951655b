"""Speech made harder: the same in every run, in range, aligned with its clean self."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_model.train.data.augmentation import Augmentation, Sounds, augment, colored_noise, spec_augment

RATE = 16_000
EASY = Augmentation(speed_chance=0, room_chance=0, noise_chance=0, band_chance=0)
HARD = Augmentation(speed_chance=1, room_chance=1, noise_chance=1, band_chance=1)


def speech(seconds=1.0):
    rng = np.random.default_rng(0)
    return (rng.normal(0, 0.1, int(seconds * RATE)) * np.sin(np.arange(int(seconds * RATE)) / 800)).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_it_is_drawn_from_the_generator_alone_and_stays_in_range(seed):
    one, two = (augment(speech(), HARD, Sounds(RATE), np.random.default_rng(seed)) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    heard, clean = one
    assert heard.shape == clean.shape
    assert heard.dtype == clean.dtype == np.float32
    assert np.abs(heard).max() <= 1.0
    assert np.isfinite(heard).all()


def test_without_chances_only_level_and_silence_change():
    heard, clean = augment(speech(), EASY, Sounds(RATE), np.random.default_rng(1))
    np.testing.assert_array_equal(heard, clean)
    begin = int(np.flatnonzero(heard)[0])
    inside = heard[begin : begin + RATE - 1]
    assert np.corrcoef(inside, speech()[1 : 1 + len(inside)])[0, 1] > 0.999


@pytest.mark.parametrize("db", [0.0, 10.0, 20.0])
def test_noise_has_the_level_asked_for(db):
    rules = Augmentation(
        speed_chance=0,
        room_chance=0,
        noise_chance=1,
        band_chance=0,
        noise_db=(db, db),
        before_s=(0, 0),
        after_s=(0, 1e-9),
    )
    heard, clean = augment(speech(4.0), rules, Sounds(RATE), np.random.default_rng(2))
    assert 20 * np.log10(clean.std() / (heard - clean).std()) == pytest.approx(db, abs=0.5)


def test_noise_slopes():
    steep = np.abs(np.fft.rfft(colored_noise(RATE, -2.0, np.random.default_rng(0)))) ** 2
    assert steep[100:200].mean() > 50 * steep[2000:4000].mean()


def test_masks_hide_and_keep_the_shape():
    features = np.random.default_rng(0).normal(size=(200, 80)).astype(np.float32)
    hidden = spec_augment(features, Augmentation(), 0.01, np.random.default_rng(3))
    changed = (hidden != features).mean()
    assert hidden.shape == features.shape
    assert 0.02 < changed < 0.7
