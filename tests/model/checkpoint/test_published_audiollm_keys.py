"""Every key of the published audiollm/final.pt is mapped or listed as unused."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from fobench.errors import FobenchError
from reference_model.checkpoint.published.audiollm_keys import RENAMES, UNUSED
from reference_model.checkpoint.published.key_mapping import rename
from reference_model.speech_input.adapter import Adapter, AdapterConfig
from reference_model.speech_input.conv_transformer import ConvTransformerConfig
from reference_model.turn_taking.state_head import StateHead
from tests.support.golden_data import FOLDER


@pytest.fixture(scope="module")
def listening() -> nn.Module:
    """The input side in the published sizes, without memory."""
    with torch.device("meta"):
        module = nn.Module()
        module.encoder = ConvTransformerConfig().build()
        module.adapter = Adapter(AdapterConfig(1024, 3584, left=4))
        module.prompt = nn.Parameter(torch.empty(25, 3584))
        module.state_head = StateHead(3584)
    return module


def test_keys_and_shapes_are_all_covered(listening):
    keys = json.loads((FOLDER / "keys_audiollm.json").read_text())["keys"]
    names = rename([*keys, "llm_decoder.model.norm.weight"], RENAMES, UNUSED)
    given = {names[key]: tuple(entry["shape"]) for key, entry in keys.items() if key in names}
    assert given == {name: tuple(value.shape) for name, value in listening.state_dict().items()}
    assert set(keys) - set(names) == {"task_embeddings.weight"}


def test_the_speech_input_has_the_published_number_of_parameters(listening):
    task_embeddings = 20 * 3584
    assert sum(p.numel() for p in listening.parameters()) + task_embeddings == 375_961_604


def test_an_unknown_key_is_an_error():
    with pytest.raises(FobenchError, match=r"2 keys that nothing here uses: encoder\.enc\.7\.x, y"):
        rename(["encoder.enc.7.x", "y", "prompt_embeddings.weight"], RENAMES, UNUSED)


def test_two_keys_of_one_name_are_an_error():
    with pytest.raises(FobenchError, match=r"keys 'a\.w' and 'b\.w' are both 'c\.w' here"):
        rename(["a.w", "b.w"], [(r"[ab]\.(.+)", r"c.\1")])


def test_the_rest_of_a_key_is_kept():
    assert rename(["layers.3.norm.weight"], [(r"layers\.(\d+)", r"blocks.\1")]) == {
        "layers.3.norm.weight": "blocks.3.norm.weight"
    }
