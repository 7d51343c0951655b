"""Freeze-Omni with random weights on each device: streams equal what is computed at once, and a talk is that of the CPU."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from fobench.api import registry
from reference_model.inference.engine import InferenceEngine
from reference_model.turn_taking.energy_vad import EnergyVAD
from tests.support import live_talk
from tests.support.devices import on_each_device
from tests.support.live_talk import Talk, silence, sound
from tests.support.pretended_gpu import pretended_gpu, to_gpu
from tests.support.tiny_models import folder

CLOSE = {"atol": 1e-4, "rtol": 0}


@pytest.fixture(autouse=True)
def full_precision():
    """Products in float32 as on a CPU, without TensorFloat-32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.set_float32_matmul_precision(before)
    torch.backends.cudnn.allow_tf32 = True


def model(device):
    made = deepcopy(live_talk.model()).to(device)
    made.decoder.config = live_talk.model().decoder.config
    return made


def engine(device):
    """The talk of `live_talk`, on a device."""
    own = live_talk.live()
    backbone = registry.create("backbones", f"hf:{folder('qwen2')}", {"device": device, "dtype": "float32"})
    return InferenceEngine(model(device), backbone, own.settings, EnergyVAD)


@on_each_device
@torch.no_grad()
def test_the_encoder_streams_as_at_once(device):
    encoder = model(device).encoder
    x = torch.randn(2, 12 * encoder.chunk, encoder.config.mels, generator=torch.Generator().manual_seed(0)).to(device)
    state, parts = encoder.begin(2), []
    for chunk in x.split(encoder.chunk, 1):
        frames, state = encoder.step(chunk, state)
        parts.append(frames)
    offline, _ = encoder(x, None, encoder.config.chunk, encoder.config.left_chunks)
    torch.testing.assert_close(torch.cat(parts, 1), offline, **CLOSE)


@on_each_device
@torch.no_grad()
def test_the_codec_streams_as_at_once_and_sounds_as_on_the_cpu(device):
    codec, on_cpu = model(device).codec, live_talk.model().codec
    codes = torch.randint(on_cpu.config.cardinality, (1, 2, 41), generator=torch.Generator().manual_seed(0))
    state, parts = None, []
    pieces = codes.to(device).split(7, -1)
    for number, piece in enumerate(pieces, 1):
        wave, state = codec.decode_step(piece, state, last=number == len(pieces))
        parts.append(wave)
    streamed = torch.cat(parts, -1)
    torch.testing.assert_close(streamed, codec.decode(codes.to(device)), **CLOSE)
    torch.testing.assert_close(streamed.cpu(), on_cpu.decode(codes), **CLOSE)


@on_each_device
def test_a_conversation_is_that_of_the_cpu(device):
    audio = np.concatenate([sound(1.0), silence(3.0)])
    expected, found = Talk(live_talk.live()).hear(audio), Talk(engine(device)).hear(audio)
    assert found.text() == expected.text() != ""
    assert found.actions() == expected.actions()
    assert np.allclose(found.states(), expected.states(), atol=2e-4)
    assert np.allclose(found.audio(), expected.audio(), atol=1e-3)


@on_each_device
def test_sessions_side_by_side_share_a_device(device):
    audio = np.concatenate([sound(1.0), silence(2.0)])
    shared = engine(device)
    shared.settings = replace(shared.settings, max_tokens=8)
    one, other = Talk(shared, seed=1), Talk(shared, seed=2)
    for start in range(0, len(audio), 5 * live_talk.WINDOW):
        part = audio[start : start + 5 * live_talk.WINDOW]
        one.hear(part)
        other.hear(part)
    assert one.text() == Talk(shared, seed=1).hear(audio).text()
    assert len(other.audio()) > 0


@pytest.mark.gpu
@torch.no_grad()
def test_cuda_graphs_give_the_codes_of_eager_steps():
    eager, graphs = model("cuda").decoder, model("cuda").decoder
    graphs.layers.compile_steps("reduce-overhead")
    rows = torch.randn(1, 24, eager.config.size, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    states = [decoder.prefill(rows) for decoder in (eager, graphs)]
    for _ in range(30):
        expected, found = eager.logits(states[:1]), graphs.logits(states[1:])
        torch.testing.assert_close(found, expected, **CLOSE)
        tokens = [int(i) for i in expected[0].argmax(-1)]
        for state in states:
            state.rows.append(tokens)
            state.last = tokens


# ---- without a GPU -----------------------------------------------------------------------------------------------------


def test_a_pretended_gpu_refuses_tensors_of_two_devices():
    with pretended_gpu():
        there = torch.ones(2, device="cuda")
        assert (there + 1).cpu().tolist() == [2, 2]
        assert there[torch.tensor([0])].device.type == "cuda"
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(2)
        with pytest.raises(RuntimeError, match="same device"):
            there[:1] = torch.ones(1)


@pytest.mark.slow
def test_a_conversation_on_a_pretended_gpu_is_that_of_the_cpu():
    audio = np.concatenate([sound(0.7), silence(1.6)])
    own = live_talk.live()
    own.settings = replace(own.settings, max_tokens=10)
    expected = Talk(own).hear(audio)
    moved = deepcopy(own.backbone.model)
    with pretended_gpu():
        backbone = type(own.backbone)(to_gpu(moved), own.backbone.tokenizer, name="moved")
        made = to_gpu(deepcopy(own.model))
        made.decoder.config = own.model.decoder.config
        assert made.prompt.device.type == backbone.device.type == "cuda"
        found = Talk(InferenceEngine(made, backbone, own.settings, EnergyVAD)).hear(audio)
    assert found.text() == expected.text() != ""
    assert np.allclose(found.states(), expected.states(), atol=2e-4)
    assert len(found.audio()) > 0
    assert np.allclose(found.audio(), expected.audio(), atol=1e-4)
