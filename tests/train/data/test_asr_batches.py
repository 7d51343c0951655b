"""Batches for the listening side: features with what is to be heard in them, the same in every run; what is unfit is left out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from reference_model.speech_input.bpe_units import BPEUnits
from reference_model.speech_input.log_mel import KaldiFbank
from reference_model.speech_input.whisper_encoder import WhisperConfig
from reference_model.train.data.asr_batches import PLAIN, AsrBatch, AsrBatcher, ChunkSampler
from reference_model.train.data.augmentation import Augmentation, Sounds
from reference_model.train.data.corpus import Corpus
from reference_model.train.data.ctc_targets import CTCTargets, min_outputs
from tests.support import beep_voice

WORDS = ["bad cab", "go high", "hide a bed", "deaf egg and jack"]
WRITTEN = "Bad cab. Go high. Hide a bed. Deaf egg and jack."
UNITS = BPEUnits.learn([WRITTEN], len({*WRITTEN}) + 1)  # letters, the space, the blank
HARD = Augmentation(speed_chance=1, room_chance=1, noise_chance=1, band_chance=1)


@pytest.fixture
def corpus(tmp_path):
    return Corpus.open([beep_voice.manifest(tmp_path / "words", WORDS)], beep_voice.RATE)


def batcher(corpus, rules=PLAIN, **more):
    front = KaldiFbank()
    given = {"join_probability": 0.0, "vocabulary": UNITS, "spacing": 4} | more
    return AsrBatcher(corpus, Sounds(front.rate_hz), rules, front, chunk=16, **given)


def equal(one: AsrBatch, other: AsrBatch) -> bool:
    pairs = [(one.features, other.features), (one.lengths, other.lengths), (one.targets.units, other.targets.units)]
    return all(torch.equal(a, b) for a, b in pairs) and one.texts == other.texts


def test_a_batch_is_the_same_in_every_run_and_another_in_every_epoch(corpus):
    made = batcher(corpus, HARD, dropout=0.5)
    assert equal(made.load([0, 1, 2], 3), made.load([0, 1, 2], 3))
    assert not torch.equal(made.load([0], 3).features, made.load([0], 4).features)


def test_clips_are_filled_up_to_whole_chunks_with_silence(corpus):
    batch = batcher(corpus).load(range(4), 0)
    assert (batch.lengths % 16 == 0).all()
    assert batch.features.shape == (4, int(batch.lengths.max()), 80)
    short = batch.features[0, batch.lengths[0] :]
    assert len(short) and (short == KaldiFbank().silence).all()


def test_two_clips_become_one_with_both_texts(corpus):
    batch = batcher(corpus, join_probability=1.0).load(range(4), 0)
    assert batch.texts == ("Bad cab. Go high.", "Hide a bed. Deaf egg and jack.")


def test_what_a_teacher_hears_is_clean(corpus):
    hard = replace(HARD, time_masks=0, band_masks=0)
    noisy, plain = batcher(corpus, hard).load([0], 0), batcher(corpus).load([0], 0)
    assert (noisy.features - noisy.clean).abs().max() > 1
    torch.testing.assert_close(plain.features, plain.clean)
    assert batcher(corpus, clean=False).load([0], 0).clean is None


# ---- what is to be heard -----------------------------------------------------------------------------------------------


def test_units_lie_in_order_within_the_speech(corpus):
    batch = batcher(corpus).load(range(4), 0)
    targets = batch.targets
    assert targets.sizes.tolist() == [len(UNITS.encode(text)) for text in batch.texts]
    units, places = targets.units.split(targets.sizes.tolist()), targets.positions.split(targets.sizes.tolist())
    for text, ids, at, (begin, end) in zip(batch.texts, units, places, batch.spans.tolist(), strict=True):
        assert UNITS.decode(ids.tolist()) == text
        assert begin < at[0] and at[-1] < end
        assert (at.diff() > 0).all()


def test_every_letter_takes_the_same_time():
    units = [UNITS.encode("Go high")]
    assert UNITS.letters(units[0]) == [1] * 8  # there is a space before it
    found = CTCTargets.of(units, [(100, 180)], UNITS)
    np.testing.assert_allclose(found.positions, 105 + 10 * np.arange(8))


@pytest.mark.parametrize(("units", "outputs"), [([], 0), ([3], 1), ([3, 3], 3), ([3, 4, 4, 4], 6)])
def test_ctc_needs_a_blank_between_two_of_the_same(units, outputs):
    assert min_outputs(units) == outputs


# ---- what is unfit -----------------------------------------------------------------------------------------------------


def test_a_text_that_does_not_fit_into_its_clip_is_left_out_and_listed(corpus):
    corpus.entries[1] = replace(corpus.entries[1], text=" ".join(["hide"] * 60))  # 5 units each
    batch = batcher(corpus).load([0, 1, 2], 0)
    assert len(batch.texts) == 2
    ((where, why),) = corpus.faults.entries
    assert where == "1.flac/clip-1"
    assert why == "its text needs 300 CTC outputs and has 32"
    assert batcher(corpus, spacing=0).load([1], 0).texts == (
        " ".join(["hide"] * 60),
    )  # without CTC there is room for any


def test_a_text_that_fits_without_dropout_is_used_without(corpus):
    learnt = BPEUnits.learn([WRITTEN] * 9, 60)
    clip = batcher(corpus, vocabulary=learnt, dropout=1.0, spacing=16)  # 6 outputs a second
    assert clip.load([3], 0).targets.units.tolist() == learnt.encode(corpus.entries[3].text)


def test_a_text_that_cannot_be_written_is_left_out_and_listed(corpus):
    corpus.entries[0] = replace(corpus.entries[0], text="???")
    assert batcher(corpus).load([0], 0) is None
    assert corpus.faults.entries == [("0.flac/clip-0", "its text has no token in the vocabulary")]


def test_a_clip_that_cannot_be_read_is_left_out_and_listed(corpus):
    corpus.entries[2].path.write_bytes(b"no sound")
    assert len(batcher(corpus).load(range(4), 0).texts) == 3
    assert [where for where, _ in corpus.faults.entries] == ["2.flac/clip-2"]
    assert batcher(corpus).load([2], 0) is None


# ---- chunks ------------------------------------------------------------------------------------------------------------


def test_an_encoder_of_whisper_s_kind_sees_whole_chunks_of_its_own():
    chunks = ChunkSampler.of(WhisperConfig(size=32, layers=1, heads=2).build())
    drawn = [chunks.draw(np.random.default_rng(seed)) for seed in range(400)]
    sizes = {chunk for chunk, _ in drawn if chunk}
    assert sizes == {8, 16, 24, 32, 40, 48}
    assert 150 < sum(chunk is None for chunk, _ in drawn) < 250
    assert all(0 <= left * chunk <= 500 for chunk, left in drawn if chunk)
