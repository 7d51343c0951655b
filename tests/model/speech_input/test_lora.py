"""LoRA: merged updates equal attached ones, and only the updates are trained."""

import pytest
import torch

from fobench.errors import FobenchError
from reference_model.speech_input.lora import LoRA
from reference_model.speech_input.second_pass import SecondPassConfig
from reference_model.speech_input.whisper_encoder import WhisperConfig

SIZE, LAYERS, RANK = 12, 2, 3


def encoder():
    torch.manual_seed(0)
    return WhisperConfig(SIZE, LAYERS, 2).build().requires_grad_(False).eval()


def learnt():
    torch.manual_seed(1)
    change = LoRA(SIZE, LAYERS, RANK)
    for one in change.parameters():
        torch.nn.init.normal_(one, std=0.3)
    return change


def test_at_first_nothing_is_changed():
    features, plain, changed = torch.randn(1, 32, 80), encoder(), encoder()
    LoRA(SIZE, LAYERS, RANK).attach(changed)
    assert torch.equal(plain(features)[0], changed(features)[0])


def test_merged_changes_do_what_attached_ones_do():
    features, plain, attached, merged, change = torch.randn(1, 32, 80), encoder(), encoder(), encoder(), learnt()
    change.attach(attached)
    change.merge(merged)
    with torch.no_grad():
        heard, again = attached(features)[0], merged(features)[0]
    assert torch.allclose(heard, again, atol=1e-5)
    assert (heard - plain(features)[0]).abs().max() > 0.1


def test_the_changes_learn_and_the_encoder_does_not():
    change, heard = learnt(), encoder()
    change.attach(heard)
    heard(torch.randn(1, 32, 80))[0].sum().backward()
    assert all(one.grad is not None for one in change.parameters())
    assert all(one.grad is None for one in heard.parameters())


def test_six_maps_of_every_layer_are_changed_each_by_few_numbers():
    change = LoRA(SIZE, LAYERS, RANK)
    assert [sorted(layer) for layer in change.layers] == [
        ["attn_key", "attn_out", "attn_query", "attn_value", "mlp_0", "mlp_2"]
    ] * LAYERS
    assert sum(one.numel() for one in change.parameters()) == LAYERS * RANK * (4 * 2 * SIZE + 2 * 5 * SIZE)


def test_a_second_pass_hears_with_the_changes_that_are_among_its_weights(monkeypatch):
    plain = encoder()
    monkeypatch.setattr("reference_model.speech_input.second_pass.full_context", encoder)
    config = SecondPassConfig(units=20, encoder_size=SIZE, encoder_layers=LAYERS, rank=RANK, size=16, heads=2, layers=1)
    made = config.build()
    made.change.load_state_dict(learnt().state_dict())
    assert any(name.startswith("change.") for name in made.state_dict())
    features = torch.randn(1, 32, 80)
    assert not torch.allclose(made.encoder()(features)[0], plain(features)[0], atol=0.1)


def test_a_rank_is_no_negative_number():
    with pytest.raises(FobenchError, match="rank is 0"):
        SecondPassConfig(rank=-1)
