"""plugins/codecs/reference.py: the codec contract, on a small codec with random weights."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch

from fobench.conformance.codecs import codec_probes
from fobench.errors import FobenchError, PrerequisiteError
from fobench_plugins.codecs.reference import NumpyCodec, random_codec, reference
from reference_model.checkpoint import safetensors_io
from reference_model.codec.hifigan import GeneratorConfig
from reference_model.codec.reference_codec import CodecConfig

SMALL = CodecConfig(
    hop=512,
    cardinality=64,
    code_size=8,
    width=16,
    mels=20,
    encoder_blocks=1,
    decoder_blocks=1,
    generator=GeneratorConfig(8, 8, (16, 16), (32, 32), (3,), ((1, 3),), block=2),
)


@pytest.fixture(scope="module")
def codec():
    return NumpyCodec(random_codec(SMALL, 0), "random weights")


@pytest.fixture(scope="module")
def probes(codec):
    return dict(codec_probes(codec))


@pytest.mark.parametrize("name", [name for name, _ in codec_probes(None)])
def test_the_reference_codec_passes_the_conformance_suite(probes, name):
    probes[name]()


def test_a_state_that_goes_into_two_calls_makes_a_fork(codec):
    codes = np.random.default_rng(0).integers(0, 64, (2, 40))
    _, state = codec.decode(codes[:, :20])
    once = codec.decode(codes[:, 20:], state, last=True)[0]
    codec.decode(codes[:, :20], state)
    assert np.array_equal(codec.decode(codes[:, 20:], state, last=True)[0], once)


def test_a_checkpoint_is_the_codec_that_was_saved(codec, tmp_path):
    saved = random_codec(SMALL, 3)
    safetensors_io.save(saved, asdict(SMALL), tmp_path / "codec.safetensors")
    loaded = reference(checkpoint=str(tmp_path / "codec.safetensors"))
    codes = np.arange(20).reshape(2, 10)
    assert np.array_equal(loaded.decode(codes, last=True)[0], NumpyCodec(saved, "").decode(codes, last=True)[0])
    assert loaded.about()["weights"] == str(tmp_path / "codec.safetensors")
    assert loaded.num_codebooks == 2


def test_a_whole_model_has_a_codec_in_it():
    shipped = reference(checkpoint="freeze-omni/any")
    assert (shipped.sample_rate_hz, shipped.num_codebooks, shipped.cardinality) == (22_050, 2, 1024)
    assert shipped.about()["weights"] == "freeze-omni/any"
    tone = (0.3 * np.sin(np.arange(11_000) / 22_050 * 2 * np.pi * 220)).astype(np.float32)
    assert np.abs(shipped.decode(shipped.encode(tone, last=True)[0], last=True)[0]).max() > 0.01


def test_a_model_with_another_codec_is_told(tmp_path):
    safetensors_io.save(torch.nn.Linear(1, 1), {"codec": {"kind": "published"}}, tmp_path / "a.safetensors")
    with pytest.raises(FobenchError, match="of the kind 'published': use the codec ticodec"):
        reference(checkpoint=str(tmp_path / "a.safetensors"))


def test_random_weights_say_so_and_depend_on_the_seed_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (reference(random=True, seed=seed) for seed in (1, 1, 2))
    codes = np.arange(4).reshape(2, 2)
    waves = [codec.decode(codes, last=True)[0] for codec in (first, again, other)]
    assert np.array_equal(waves[0], waves[1])
    assert not np.array_equal(waves[0], waves[2])
    assert first.about()["weights"] == "random weights, seed 1"
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("options", [{}, {"checkpoint": "a.safetensors", "random": True}])
def test_one_kind_of_weights_is_asked_for(options):
    with pytest.raises(FobenchError, match="or FILE, or random=true"):
        reference(**options)


def test_a_missing_checkpoint_is_told(tmp_path):
    with pytest.raises(PrerequisiteError, match="There is no checkpoint"):
        reference(checkpoint=str(tmp_path / "none.safetensors"))


def test_another_models_checkpoint_is_told(tmp_path):
    safetensors_io.save(torch.nn.Linear(1, 1), {"width": 3}, tmp_path / "a.safetensors")
    with pytest.raises(FobenchError, match="not the configuration of a reference codec: 'generator'"):
        reference(checkpoint=str(tmp_path / "a.safetensors"))
