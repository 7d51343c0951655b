"""reference_model/codec/reference_codec.py: shapes, streaming, training, configuration."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fobench.errors import FobenchError
from reference_model.checkpoint.safetensors_io import fill
from reference_model.codec.convnext import mel_bands
from reference_model.codec.exact_streaming import receptive_field
from reference_model.codec.hifigan import GeneratorConfig, weight_normed
from reference_model.codec.reference_codec import CodecConfig, ReferenceCodec

TINY = CodecConfig(
    sample_rate_hz=8000,
    hop=24,
    codebooks=2,
    cardinality=16,
    code_size=4,
    width=8,
    mels=10,
    fft=48,
    encoder_blocks=1,
    decoder_blocks=1,
    generator=GeneratorConfig(6, 8, (4, 3), (8, 5), (3,), ((1, 3),), block=2),
)


def tiny():
    torch.manual_seed(0)
    return ReferenceCodec(TINY).eval().requires_grad_(False)


CODEC = tiny()


def noise(batch, length):
    return torch.randn(batch, length, generator=torch.Generator().manual_seed(length)) * 0.1


def streamed(step, pieces):
    state, made = None, []
    for index, piece in enumerate(pieces):
        out, state = step(piece, state, index == len(pieces) - 1)
        made.append(out)
    return torch.cat(made, -1)


def test_the_default_is_two_of_pipers_frames_a_frame():
    config = CodecConfig()
    with torch.device("meta"):
        codec = config.build()
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in codec.named_children()}
    assert round(config.frame_rate_hz, 2) == 43.07
    assert (config.stack, config.num_codebooks, config.cardinality) == (2, 2, 1024)
    assert sizes == {"mels": 0, "encoder": 1_777_664, "quantizer": 16_672, "decoder": 893_312, "generator": 1_662_976}
    assert receptive_field(codec.decode_layers) == (18, 6)  # frames: 139 ms of looking ahead


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (24, 1), (25, 2), (240, 10)])
def test_audio_is_padded_to_complete_frames(samples, frames):
    codes = CODEC.encode(noise(2, samples))
    assert codes.shape == (2, 2, frames)
    assert codes.dtype == torch.int64
    assert CODEC.decode(codes).shape == (2, frames * 24)


@given(sizes=st.lists(st.integers(1, 8), min_size=1, max_size=10))
@settings(max_examples=20, deadline=None)
def test_decoding_streamed_is_as_offline(sizes):
    codes = torch.randint(16, (2, 2, sum(sizes)), generator=torch.Generator().manual_seed(0))
    wave = streamed(CODEC.decode_step, codes.split(sizes, -1))
    torch.testing.assert_close(wave, CODEC.decode(codes), atol=1e-6, rtol=0)


@given(sizes=st.lists(st.integers(0, 100), min_size=1, max_size=10))
@settings(max_examples=20, deadline=None)
def test_encoding_streamed_is_as_offline(sizes):
    audio = noise(2, sum(sizes))
    assert torch.equal(streamed(CODEC.encode_step, audio.split(sizes, -1)), CODEC.encode(audio))


@pytest.mark.parametrize("size", range(1, 9))
def test_a_step_of_any_size(size):
    codes = torch.randint(16, (1, 2, 40), generator=torch.Generator().manual_seed(size))
    wave = streamed(CODEC.decode_step, codes.split(size, -1))
    torch.testing.assert_close(wave, CODEC.decode(codes), atol=1e-6, rtol=0)


def test_a_step_has_no_more_delay_than_its_receptive_field():
    _, right = receptive_field(CODEC.decode_layers)
    codes = torch.zeros(1, 2, 30, dtype=torch.int64)
    wave, _ = CODEC.decode_step(codes)
    assert wave.shape[-1] >= (30 - right) * 24


def reconstruct(codec, audio):
    """(audio, quantised latents) of whole frames, by the modules that training calls."""
    quantized = codec.quantizer(codec.encoder(codec.mels(audio)))
    return codec.generator(codec.decoder(quantized.values)), quantized


def test_all_that_learns_by_gradients_gets_some():
    torch.manual_seed(0)
    codec = ReferenceCodec(TINY)
    weight_normed(codec.generator)
    audio = noise(2, 10 * TINY.hop)
    decoded, quantized = reconstruct(codec, audio)
    (decoded - audio).square().mean().add(quantized.commitment).backward()
    assert decoded.shape == audio.shape
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in codec.parameters())


def test_a_codec_on_the_meta_device_loads_a_checkpoint():
    with torch.device("meta"):
        codec = ReferenceCodec(TINY)
    fill(codec, CODEC.state_dict(), "the tiny codec", assign=True)
    assert torch.equal(codec.eval().encode(noise(1, 240)), CODEC.encode(noise(1, 240)))


def test_training_hears_what_decoding_gives():
    audio = noise(1, 240)
    torch.testing.assert_close(reconstruct(CODEC, audio)[0], CODEC.decode(CODEC.encode(audio)), atol=1e-6, rtol=0)


def test_mel_bands_cover_all_but_the_edges():
    bands = mel_bands(22050, 80, 1024)
    assert bands.shape == (513, 80)
    peaks = bands.argmax(0)
    assert bool((peaks[1:] >= peaks[:-1]).all())
    assert bool((bands.sum(0) > 0).all())


def test_the_configuration_survives_json():
    assert CodecConfig.from_json(json.loads(json.dumps(asdict(TINY)))) == TINY


@pytest.mark.parametrize("data", [{}, {"generator": 3}, {**asdict(TINY), "rate": 1}])
def test_an_invalid_configuration_is_an_error(data):
    with pytest.raises(FobenchError, match="not the configuration of a reference codec"):
        CodecConfig.from_json(data)


@pytest.mark.parametrize(
    ("wrong", "message"), [({"hop": 300}, "multiple of its generator's, 256"), ({"fft": 255}, "fft 255")]
)
def test_inconsistent_sizes_are_an_error(wrong, message):
    with pytest.raises(FobenchError, match=message):
        CodecConfig(**wrong)
