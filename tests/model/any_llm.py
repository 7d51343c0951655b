"""A tiny model that fits every LLM: it spells what it hears, its head sees no hidden states, its decoder reads letters alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch

from reference_model.config import ModelConfig
from reference_model.model import FreezeOmni
from reference_model.speech_input.bpe_units import BPEUnits
from reference_model.speech_input.ctc_adapter import CTCAdapterConfig
from reference_model.speech_input.whisper_encoder import WhisperConfig
from reference_model.speech_output.speech_decoder import EOS
from reference_model.turn_taking.state_head import StateHead

UNITS = BPEUnits.learn(["the cat sat on the mat", "a cat, that sat", "hot hats"] * 20, 40)


def config() -> ModelConfig:
    """The configuration `tiny`, without all that ties it to an LLM."""
    base = ModelConfig.load("tiny")
    encoder = WhisperConfig(size=32, layers=2, heads=4, left_chunks=2)
    adapter = CTCAdapterConfig(encoder_size=32, units=UNITS.merges, hidden=24)
    decoder = replace(base.decoder, thoughts=False, llm_rows=False, characters=128, max_frames=20)
    free = replace(base, encoder=encoder, adapter=adapter, decoder=decoder, prompts=0)
    free = replace(free, state_inputs=("evidence", "language"), state_middle=6, state_memory=5)
    return replace(free, llm_size=0)


@cache
def model() -> FreezeOmni:
    """Random weights, scaled so that its units vary; its decoder always has something to say."""
    torch.manual_seed(3)
    made = FreezeOmni(config()).eval()
    torch.nn.init.normal_(made.adapter.spell.weight, std=2.0)
    torch.nn.init.normal_(made.encoder.conv1.weight, std=0.5)
    with torch.no_grad():
        made.decoder.out.bias[made.decoder.special(EOS)] -= 99
    return made


def tied(size: int = 64) -> FreezeOmni:
    """The same with a head on the hidden states of LLMs of one size, and random ones of its own."""
    torch.manual_seed(4)
    tied_config = replace(config(), llm_size=size, state_inputs=("hidden", "evidence"), state_memory=0)
    made = FreezeOmni(tied_config).eval()
    for name, part in model().named_children():
        if name != "state_head":
            getattr(made, name).load_state_dict(part.state_dict())
    assert isinstance(made.state_head, StateHead)
    return made
