"""The input side in the published sizes, with weights computed by a formula, against the published code's numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reference_model.checkpoint.published.audiollm_keys import RENAMES, UNUSED
from reference_model.checkpoint.published.key_mapping import rename
from reference_model.speech_input.adapter import Adapter, AdapterConfig
from reference_model.speech_input.conv_transformer import ConvTransformerConfig
from reference_model.turn_taking.state_head import StateHead
from tests.support.golden_data import golden
from tests.support.published_weights import formula_weights

CLOSE = {"atol": 5e-5, "rtol": 0}


@pytest.fixture(scope="module")
def listening() -> nn.Module:
    numbers = golden("full_formula")
    with torch.device("meta"):
        module = nn.Module()
        module.encoder = ConvTransformerConfig(lagging_positions=True, zero_context=True).build()
        module.adapter = Adapter(AdapterConfig(1024, 3584, left=4))
        module.prompt = nn.Parameter(torch.empty(25, 3584))
        module.state_head = StateHead(3584)
    given = formula_weights("audiollm.")
    names = rename(given, RENAMES, UNUSED)
    cmvn = {"encoder.mean": numbers["in/cmvn_mean"], "encoder.istd": numbers["in/cmvn_istd"]}
    module.load_state_dict({name: given[key] for key, name in names.items()} | cmvn, assign=True)
    return module.eval().requires_grad_(False)


@pytest.mark.slow  # 358 million weights, computed
def test_the_published_numbers(listening):
    numbers = golden("full_formula")
    encoder, adapter = listening.encoder.begin(1), listening.adapter.begin(1)
    compared = 0
    for i, chunk in enumerate(numbers["in/chunks_logmel"]):
        frames, encoder = listening.encoder.step(chunk[None, 3:], encoder)
        rows, adapter = listening.adapter.step(frames, adapter)
        if f"out/encoder_chunk{i}" in numbers:
            torch.testing.assert_close(frames[0], numbers[f"out/encoder_chunk{i}"], **CLOSE)
            torch.testing.assert_close(rows[0], numbers[f"out/adapter_chunk{i}"], **CLOSE)
            logits = listening.state_head(rows[0])
            torch.testing.assert_close(logits, numbers[f"out/state_logits_of_adapter_chunk{i}"], **CLOSE)
            compared += 1
    assert compared == 5
    torch.testing.assert_close(listening.prompt[24, :16], numbers["out/prompt_embeddings_row24_first16"], **CLOSE)
