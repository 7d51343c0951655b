"""Batches made on a device: the clips as they are without rules, harder with them, the same whenever they are made."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from reference_model.speech_input.bpe_units import BPEUnits
from reference_model.speech_input.log_mel import WhisperMel
from reference_model.train.data.asr_batches import PLAIN as BARE
from reference_model.train.data.asr_batches import AsrBatcher
from reference_model.train.data.augmentation import Augmentation, Sounds
from reference_model.train.data.corpus import ClipEntry, Corpus
from reference_model.train.data.device_batches import SIZES, DeviceAsrBatcher

CHUNK = 16
PLAIN = replace(BARE, before_s=(0.25, 0.25), after_s=(0.5, 0.5))


class Held(Corpus):
    """Clips in memory."""

    sounds: list

    def samples(self, index):
        return self.sounds[index]


def corpus(tmp_path, lengths):
    rng = np.random.default_rng(0)
    made = Held([ClipEntry(f"c{i}", f"Text {i}.", n / 16_000, tmp_path) for i, n in enumerate(lengths)], 16_000)
    made.sounds = [None if n == 0 else (0.1 * rng.standard_normal(n)).astype(np.float32) for n in lengths]
    return made


def batcher(found, rules=PLAIN, join_probability=0.0, device="cpu", **more):
    told = AsrBatcher(found, Sounds(16_000), rules, WhisperMel(), CHUNK, join_probability=join_probability, **more)
    return DeviceAsrBatcher(told, torch.device(device))


def test_a_clip_without_rules_is_itself_between_its_silences(tmp_path):
    found = corpus(tmp_path, [16_000])
    batch = batcher(found).load([0], 0)
    clip = np.concatenate([np.zeros(4000, np.float32), found.sounds[0], np.zeros(8000, np.float32)])
    clip *= 10 ** (-25 / 20) / np.sqrt((clip**2).mean())
    alone = WhisperMel().offline(torch.from_numpy(clip)[None])[0]
    assert batch.texts == ("Text 0.",)
    torch.testing.assert_close(batch.features[0, : len(alone)], alone, atol=2e-3, rtol=0)
    torch.testing.assert_close(batch.features, batch.clean)
    assert int(batch.lengths[0]) == -(-len(alone) // CHUNK) * CHUNK
    begin, end = batch.spans[0].tolist()
    assert abs(begin - 25) <= 1 and abs(end - 125) <= 1


def test_a_clip_is_the_same_alone_and_among_others(tmp_path):
    found = corpus(tmp_path, [16_000, 9_000, 30_000])
    alone, among = batcher(found).load([1], 0), batcher(found).load([1, 0, 2], 0)
    n = int(alone.lengths[0])
    torch.testing.assert_close(among.features[0, :n], alone.features[0, :n], atol=2e-3, rtol=0)
    assert among.lengths.tolist()[0] == n and len(among.texts) == len(among.features) == 3


def test_joined_clips_have_both_texts_and_the_second_behind_the_first(tmp_path):
    found = corpus(tmp_path, [16_000, 8_000])
    batch = batcher(found, join_probability=1.0).load([0, 1], 0)
    assert batch.texts == ("Text 0. Text 1.",)
    begin, end = batch.spans[0].tolist()
    assert end - begin >= 100 + 50 + 10  # both, and a pause of 0.1 s or more


def test_rules_change_what_is_heard_and_not_what_is_clean(tmp_path):
    found = corpus(tmp_path, [24_000] * 8)
    rules = Augmentation(speed_chance=0, room_chance=1, noise_chance=1, band_chance=1)
    batch = batcher(found, rules).load(list(range(8)), 0)
    assert all(not torch.allclose(a, b, atol=0.1) for a, b in zip(batch.features, batch.clean, strict=True))
    calm = Augmentation(speed_chance=0, room_chance=0, noise_chance=0, band_chance=0, time_masks=0, band_masks=0)
    same = batcher(found, calm).load(list(range(8)), 0)
    torch.testing.assert_close(same.features, same.clean)


def test_noise_lies_as_far_below_the_speech_as_the_rules_say(tmp_path):
    found = corpus(tmp_path, [32_000] * 4)
    rules = Augmentation(
        speed_chance=0, room_chance=0, noise_chance=1, noise_db=(10.0, 10.0), band_chance=0, time_masks=0, band_masks=0
    )
    made = batcher(found, rules)
    draw = torch.Generator().manual_seed(0)
    clean = torch.randn(4, SIZES[4]) * 0.1
    noise = made._add_noise(clean, clean, torch.full((4,), SIZES[4]), draw) - clean
    ratio = 20 * torch.log10(clean.std(1) / noise.std(1))
    torch.testing.assert_close(ratio, torch.full((4,), 10.0), atol=0.1, rtol=0)


def test_the_same_place_gives_the_same_batch_and_another_epoch_another(tmp_path):
    found = corpus(tmp_path, [16_000] * 3)
    rules = Augmentation()
    first, again = (batcher(found, rules).load([0, 1, 2], 4) for _ in range(2))
    assert torch.equal(first.features, again.features)
    assert first.features.shape != (
        other := batcher(found, rules).load([0, 1, 2], 5).features
    ).shape or not torch.equal(first.features, other)


def test_what_cannot_be_read_is_in_no_batch(tmp_path):
    batch = batcher(corpus(tmp_path, [16_000, 0, 12_000])).load([0, 1, 2], 0)
    assert batch.texts == ("Text 0.", "Text 2.")


@pytest.mark.gpu
def test_on_a_gpu_a_batch_is_made_there(tmp_path):
    found = corpus(tmp_path, [16_000] * 3)
    on_gpu, on_cpu = batcher(found, device="cuda").load([0, 1, 2], 0), batcher(found).load([0, 1, 2], 0)
    assert on_gpu.features.is_cuda
    torch.testing.assert_close(on_gpu.features.cpu(), on_cpu.features, atol=5e-3, rtol=0)


def test_a_text_that_ctc_has_no_room_for_is_left_out_and_listed(tmp_path):
    found = corpus(tmp_path, [16_000, 16_000])
    found.entries[1] = replace(found.entries[1], text="word " * 60)
    units = BPEUnits.learn([entry.text for entry in found.entries], 40)
    batch = batcher(found, vocabulary=units, spacing=4, dropout=0.0).load([0, 1], 0)
    assert batch.texts == ("Text 0.",) and batch.targets.sizes.tolist() == [len(units.encode("Text 0."))]
    assert "needs" in str(found.faults)
