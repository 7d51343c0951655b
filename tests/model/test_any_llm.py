"""A model that no LLM is tied to: what its configuration may hold, what its head sees, and that it talks around every LLM."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fobench.api.types import Action, EventKind
from fobench.errors import FobenchError
from reference_model.checkpoint import loading
from reference_model.config import ModelConfig
from reference_model.inference.engine import InferenceEngine
from reference_model.speech_output.decoder_input import decoder_input
from reference_model.speech_output.speech_decoder import SpeechDecoder, SpeechDecoderConfig
from reference_model.train.speech_output.decoder_training import (
    DecoderExample,
    SpeechDecoderLearner,
    TextReader,
    collate,
)
from reference_model.turn_taking import head_inputs
from reference_model.turn_taking.energy_vad import EnergyVAD
from tests.model import any_llm
from tests.support.live_talk import Talk, silence, sound
from tests.support.tiny_models import FURTHER, SHAPES, backbone

SIZES = dict(zip([*SHAPES, *FURTHER], [64, 32, 96, 64, 128, 64, 32, 96], strict=True))  # hidden sizes


@pytest.mark.parametrize(("shape", "hidden"), SIZES.items())
def test_one_checkpoint_talks_around_every_architecture(shape, hidden):
    llm = backbone(shape, hidden)
    before = llm.parameter_hash()
    loading.check_backbone(any_llm.model(), llm.name, llm.hidden_size)
    system = InferenceEngine(any_llm.model(), llm, any_llm.model().config.settings, EnergyVAD)
    talk = Talk(system).hear(sound(1.0)).hear(silence(3.0))
    kinds = {event.kind for event in talk.events}
    assert Action.SPEAK in talk.actions()
    assert {EventKind.STATE, EventKind.TRANSCRIPT, EventKind.TOKEN, EventKind.REPLY_END} <= kinds
    assert len(talk.audio()) > 0 and np.isfinite(talk.audio()).all()
    assert llm.parameter_hash() == before


def test_the_head_hears_the_same_evidence_whatever_the_llm():
    """What differs between two LLMs is language alone: the last three numbers."""
    seen = []
    for shape in ("qwen2", "gemma3"):
        system = InferenceEngine(any_llm.model(), backbone(shape), any_llm.model().config.settings, EnergyVAD)
        inputs = []
        own = any_llm.model().state_head.step
        system.model.state_head.step = lambda x, memory, own=own, to=inputs: to.append(x) or own(x, memory)
        try:
            Talk(system).hear(sound(1.0))
        finally:
            del system.model.state_head.step
        seen.append(torch.stack(inputs))
    one, other = seen
    size = any_llm.config().adapter.evidence
    assert one.shape[-1] == size + head_inputs.LANGUAGE == any_llm.config().head_size
    assert torch.equal(one[:, :size], other[:, :size])
    assert not torch.equal(one[:, size:], other[:, size:])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"backbone": "toy"}, "backbone = 'toy'"),
        ({"prompts": 3}, "prompts = 3"),
        ({"state_inputs": ("hidden",)}, "state head on hidden states"),
        ({"adapter": ModelConfig.load("tiny").adapter}, "adapter of LLM embeddings"),
        ({"decoder": ModelConfig.load("tiny").decoder}, "rows of the LLM"),
    ],
)
def test_what_ties_a_model_to_an_llm_needs_its_size(changes, named):
    with pytest.raises(FobenchError, match=f"for any LLM, but .*{named}"):
        replace(any_llm.config(), **changes)


def test_a_saved_one_is_for_any_llm_and_one_of_old_is_for_its_own(tmp_path):
    loading.save(any_llm.model(), tmp_path / "any.safetensors")
    loading.save(any_llm.tied(), tmp_path / "tied.safetensors")
    assert loading.made_for(tmp_path / "any.safetensors") == loading.ANY
    assert loading.made_for(tmp_path / "tied.safetensors") == ""
    assert loading.load(tmp_path / "any.safetensors", device="cpu").config == any_llm.config()
    loading.check_backbone(loading.load(tmp_path / "any.safetensors", device="cpu"), "whatever", 12_288)


def test_a_configuration_of_before_has_the_published_head():
    data = any_llm.tied().config.to_json()
    del data["state_inputs"], data["state_memory"], data["decoder"]["llm_rows"]
    old = ModelConfig.from_json(data | {"decoder": {**data["decoder"], "characters": 0}})
    assert old.state_inputs == ("hidden", "evidence") and old.decoder.llm_rows and not old.state_memory


# ---- the LLM's numbers -------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=40), st.data())
def test_language_numbers_are_those_of_the_distribution(logits, data):
    ends = data.draw(st.sets(st.integers(0, len(logits) - 1), min_size=1))
    known, end, entropy = head_inputs.language_numbers(torch.tensor(logits), ends | {10_000}).tolist()
    p = torch.tensor(logits, dtype=torch.float64).softmax(-1)
    wanted = max(math.log(float(p[sorted(ends)].sum())), head_inputs.LEAST_LOGPROB) / head_inputs.NATS
    assert known == 1.0
    assert end == pytest.approx(wanted, abs=1e-4)
    assert entropy == pytest.approx(float(torch.special.entr(p).sum()) / head_inputs.NATS, abs=1e-4)


def test_without_text_and_with_impossible_tokens_the_numbers_are_finite():
    assert head_inputs.language_numbers(None, {1}).tolist() == [0.0, 0.0, 0.0]
    numbers = head_inputs.language_numbers(torch.tensor([[-torch.inf, 0.0], [0.0, -torch.inf]]), {0})
    assert numbers.shape == (2, 3) and bool(numbers.isfinite().all())


# ---- the speech decoder ------------------------------------------------------------------------------------------------


def test_a_decoder_without_rows_of_the_llm_reads_letters_alone():
    class Nobody:
        def __getattr__(self, name):
            raise AssertionError(f"it asks the LLM to {name}")

    decoder = any_llm.model().decoder
    rows = decoder_input(decoder, Nobody(), "Hello.")
    assert torch.equal(rows[0], decoder.letters.weight[[ord(letter) for letter in "Hello."]])
    assert decoder_input(decoder, Nobody(), "") is None


def test_a_decoder_must_read_something():
    with pytest.raises(FobenchError, match="needs letters"):
        SpeechDecoderConfig(llm_rows=False)


def test_rows_of_zeros_stand_where_the_llms_embeddings_stood():
    """In synthesis as in training, and no LLM is asked."""
    decoder = SpeechDecoder(replace(any_llm.config().decoder, blank_rows=0.5))
    rows = decoder_input(decoder, None, "Hello.")
    assert rows.shape[1] == 9 and not rows[0, :3].any()
    assert torch.equal(rows[0, 3:], decoder.letters.weight[[ord(letter) for letter in "Hello."]])
    reader = TextReader(None, replace(any_llm.config(), decoder=decoder.config))
    examples = [DecoderExample(text, torch.zeros(2, 4, dtype=torch.long)) for text in ("Hello.", "Hm.")]
    batched, lengths = SpeechDecoderLearner(decoder).rows(collate(reader, examples))
    assert lengths.tolist() == [9, 5] and torch.equal(batched[:1], rows)
