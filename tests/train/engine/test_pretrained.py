"""Weights of an earlier training: of a stage, of a whole model, of a checkpoint as it ships."""

from dataclasses import replace

import pytest
import torch

from fobench.errors import FobenchError
from reference_model.checkpoint import loading, safetensors_io, sharded
from reference_model.config import ModelConfig
from reference_model.model import FreezeOmni
from reference_model.speech_input.bpe_units import BPEUnits
from reference_model.speech_input.ctc_adapter import CTCAdapterConfig
from reference_model.speech_input.ctc_beam_search import BeamSearch
from reference_model.train.engine.pretrained import PretrainedWeights


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    units = BPEUnits.learn(["a few words", "and more"], 30).merges
    adapter = CTCAdapterConfig(32, units, hidden=16, beam=BeamSearch(lm_entries=5))
    return FreezeOmni(replace(ModelConfig.load("tiny"), adapter=adapter, llm_size=64, backbone="a-backbone"))


@pytest.fixture(params=["file", "parts"])
def saved(request, model, tmp_path):
    file = tmp_path / "whole.safetensors"
    loading.save(model, file, storage=None)
    if request.param == "file":
        return file
    sharded.save(*safetensors_io.load(file), tmp_path / "folder")
    return tmp_path / "folder"


def test_a_whole_model_gives_its_parts_without_what_only_reads_them(model, saved):
    earlier = PretrainedWeights.read(saved)
    bare = replace(model.config.adapter, beam=None)
    fresh = bare.build()
    earlier.fill_checked(fresh, "adapter", bare)
    assert torch.equal(fresh.spell.weight, model.adapter.spell.weight)
    assert not any("lm_" in name for name in earlier.tensors) and "beam" not in earlier.part_config("adapter")


def test_a_part_of_another_configuration_is_refused_by_name(model, saved):
    other = replace(model.config.adapter, beam=None, hidden=24)
    with pytest.raises(FobenchError, match=r"another configuration \(adapter\.hidden"):
        PretrainedWeights.read(saved).fill_checked(other.build(), "adapter", other)


def test_an_encoder_comes_as_it_was(model, saved):
    encoder = model.config.encoder.build()
    PretrainedWeights.read(saved).fill_checked(encoder, "encoder", model.config.encoder)
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), model.encoder.parameters(), strict=True))


def test_another_backbone_than_it_was_trained_for_is_refused_by_name(saved):
    earlier = PretrainedWeights.read(saved)
    earlier.check_backbone("a-backbone")
    with pytest.raises(
        FobenchError, match=r"was trained for backbone 'a-backbone', not 'another'\. Choose another --init"
    ):
        earlier.check_backbone("another")
