"""The second pass: padding has no effect, and its transcript holds until there is more speech."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn.functional import pad

from reference_model.speech_input.bpe_units import BPEUnits
from reference_model.speech_input.ctc_adapter import CTCAdapterConfig, CTCReader
from reference_model.speech_input.second_pass import SecondPassConfig
from reference_model.speech_input.whisper_encoder import WhisperConfig
from reference_model.speech_input.whisper_weights import ranged

CONFIG = SecondPassConfig(units=20, features=6, encoder_size=12, size=16, heads=2, layers=2, dropout=0.0)


def rereader():
    torch.manual_seed(0)
    return CONFIG.build().eval()


@torch.no_grad()
def test_frames_beyond_the_end_of_a_clip_change_nothing():
    made, frames, heard = rereader(), torch.randn(1, 40, 12), torch.randn(1, 20, 6)
    alone, valid = made(frames, torch.ones(1, 40, dtype=torch.bool), heard)
    wide = pad(frames, (0, 0, 0, 10), value=3.0)
    beside, seen = made(wide, torch.arange(50)[None] < 40, pad(heard, (0, 0, 0, 5), value=3.0))
    assert alone.shape == (1, 20, 20) and valid.all()
    assert torch.allclose(alone, beside[:, :20], atol=1e-5) and seen.sum() == 20


@torch.no_grad()
def test_all_of_a_turn_is_seen_by_each_of_its_outputs():
    made, frames, heard = rereader(), torch.randn(1, 40, 12), torch.randn(1, 20, 6)
    mask = torch.ones(1, 40, dtype=torch.bool)
    before = made(frames, mask, heard)[0]
    for one in (frames, heard):
        one[:, -1] += 1.0
        assert (made(frames, mask, heard)[0] != before).any(-1).all()
        one[:, -1] -= 1.0


def test_the_correction_is_added_to_the_adapters_logits_and_the_encoder_is_not_in_the_weights():
    made = replace(CONFIG, encoder_size=384).build().eval()
    torch.manual_seed(0)
    made._encoder.append(WhisperConfig(layers=1).build().eval())  # random: what it hears is not the point
    assert made.encoder() is made._encoder[0]
    for chunks in (1, 2, 9):
        features, heard = torch.randn(1, 16 * chunks, 80), torch.randn(1, 4 * chunks, 20 + 6)
        log_p = made.read(features, heard)
        assert log_p.shape == (1, 4 * chunks, 20)
        assert torch.allclose(log_p.exp().sum(-1), torch.ones(log_p.shape[:2]), atol=1e-5)
    torch.nn.init.zeros_(made.spell.weight)
    torch.nn.init.zeros_(made.spell.bias)
    assert torch.allclose(made.read(features, heard), heard[..., :20].log_softmax(-1), atol=1e-5)
    assert not any("_encoder" in name for name in made.state_dict())


@torch.no_grad()
def test_independent_recognition_ignores_the_adapters_output():
    made = replace(CONFIG, features=0, encoder_size=384).build().eval()
    made._encoder.append(WhisperConfig(layers=1).build().eval())
    features = torch.randn(1, 32, 80)
    one, other = (made.read(features, torch.randn(1, 8, 26)) for _ in range(2))
    assert torch.equal(one, other)
    assert torch.allclose(one.exp().sum(-1), torch.ones(1, 8), atol=1e-5)


def test_features_have_whisper_s_range_each_recording_its_own():
    features = torch.tensor([[[1.0, -3.0]], [[0.0, -1.5]]])
    assert ranged(features).tolist() == [[[1.0, -1.0]], [[0.0, -1.5]]]


def test_the_second_passes_transcript_holds_until_it_is_reset():
    adapter = CTCAdapterConfig(12).build()
    units: BPEUnits = adapter.units
    reader: CTCReader = adapter.reader()
    reader.greedy = units.encode("cat")
    assert reader.text == "cat"
    reader.second_pass = "cart"
    assert reader.text == "cart"
    reader.second_pass = None
    assert reader.text == "cat"


def test_a_final_mark_of_the_first_pass_is_appended_to_the_second_passes_transcript():
    adapter = CTCAdapterConfig(12).build()
    reader: CTCReader = adapter.reader()
    reader.greedy, reader.second_pass = adapter.units.encode("a cat?"), "a cart"
    assert reader.text == "a cart?"
    reader.second_pass = "a cart."
    assert reader.text == "a cart."
    reader.greedy = adapter.units.encode("a cat")
    reader.second_pass = "a cart"
    assert reader.text == "a cart"


def test_a_complete_turn_is_decoded_greedily_without_a_language_model():
    adapter = CTCAdapterConfig(12).build()
    ids = adapter.units.encode("on")
    heard = [unit for i in ids for unit in (0, i, i)]  # each for two frames, after a blank
    log_p = torch.full((len(heard), len(adapter.units)), -9.0)
    log_p[range(len(heard)), heard] = 0.0
    assert adapter.units.decode(adapter.decode((log_p, log_p.flip(0)), (0.5, 0.5), None)) == "on"
