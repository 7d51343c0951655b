"""The input side in the published sizes, with weights computed by a formula, against the published code's numbers."""

from __future__ import annotations

import pytest
import torch
from formula import formula_weights
from golden_data import golden
from torch import nn

from reference_model.adapter import Adapter, AdapterConfig
from reference_model.conv_transformer import ConvTransformerConfig
from reference_model.published.listening_keys import RENAMES, UNUSED
from reference_model.published.renames import rename
from reference_model.state_head import StateHead

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
