"""The CTC adapter: streamed equals offline, and the LLM gets exactly the tokens of the transcript."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_model.checkpoint import loading
from reference_model.config import ModelConfig
from reference_model.model import FreezeOmni
from reference_model.speech_input.bpe_units import BLANK, BPEUnits
from reference_model.speech_input.ctc_adapter import CTCAdapterConfig, CTCReader
from reference_model.speech_input.ctc_beam_search import BeamSearch
from reference_model.train.speech_input.ngram_lm_training import learn
from tests.support.tiny_models import backbone

UNITS = BPEUnits.learn(["the cat sat on the mat", "a cat, that sat", "hot hats"] * 20, 40)
CONFIG = CTCAdapterConfig(encoder_size=16, units=UNITS.merges, hidden=12)
TEXT = "the cat sat, hot hats"


def adapter():
    torch.manual_seed(0)
    return CONFIG.build().eval()


def spoken(units):
    """Logits and features [1, n, U + 12] in which each unit is heard for one output and a blank follows."""
    best = torch.tensor([x for unit in units for x in (unit, BLANK)])
    logits = torch.nn.functional.one_hot(best, len(UNITS)).float() * 9
    return torch.cat([logits, torch.ones(len(best), CONFIG.hidden)], -1)[None]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 8), min_size=1, max_size=6))
@torch.no_grad()
def test_a_streamed_ctc_adapter_equals_offline(chunks):
    made, frames = adapter(), torch.randn(2, 2 * sum(chunks), 16)
    logits, features, mask = made(frames, torch.ones(frames.shape[:2], dtype=torch.bool))
    state, parts = made.begin(2), []
    for part in frames.split([2 * n for n in chunks], 1):
        heard, state = made.step(part, state)
        parts.append(heard)
    torch.testing.assert_close(torch.cat(parts, 1), torch.cat([logits, features], -1), atol=1e-5, rtol=1e-5)
    assert mask.shape == logits.shape[:2]


@torch.no_grad()
def test_padding_changes_no_ctc_output():
    made, frames = adapter(), torch.randn(1, 20, 16)
    padded = torch.cat([frames, torch.full((1, 6, 16), 99.0)], 1)
    mask = torch.arange(26)[None] < 20
    alone, _, _ = made(frames, mask[:, :20])
    beside, _, valid = made(padded, mask)
    assert valid.sum() == 10
    torch.testing.assert_close(beside[:, :10], alone)


def test_frames_must_fill_an_output():
    with pytest.raises(ValueError, match="3 frames are not a multiple"):
        adapter().step(torch.randn(1, 3, 16), adapter().begin(1))


@pytest.mark.parametrize("following", [False, True])
@given(st.lists(st.integers(1, 5), min_size=1, max_size=30))
@settings(max_examples=25, deadline=None)
def test_the_llm_has_exactly_the_tokens_of_the_text(following, steps):
    llm, reader = backbone("smollm2"), CTCReader(UNITS)
    heard, given_ids, begin = spoken(UNITS.encode(TEXT)), torch.zeros(1, 0, llm.hidden_size), 0
    for size in steps:
        part, begin = heard[:, begin : begin + size], begin + size
        if part.shape[1]:
            reader.push(part)
        if reader.features is None:
            break
        back, rows = reader.rows(llm, following)
        given_ids = torch.cat([given_ids[:, : given_ids.shape[1] - back], rows], 1)
        wanted = llm.encode(f" {reader.text}" if following and reader.text else reader.text)
        expected = llm.embed(torch.tensor([wanted], dtype=torch.long))
        torch.testing.assert_close(given_ids, expected)


def test_a_unit_held_over_two_chunks_is_one():
    reader = CTCReader(UNITS)
    unit = UNITS.encode("the")[0]
    held = spoken([unit])[:, :1]
    reader.push(held)
    reader.push(held)
    assert reader.greedy == [unit] and reader.text == "the"


def test_evidence_counts_the_silence():
    reader = CTCReader(UNITS)
    reader.push(spoken(UNITS.encode("cat")))
    before = reader.evidence()
    reader.push(spoken([BLANK] * 10))
    after = reader.evidence()
    assert len(before) == CONFIG.evidence
    assert after[-2] > before[-2]
    assert after[-1] == before[-1] == 1.0


# ---- read by beam search -----------------------------------------------------------------------------------------------

LM = learn([UNITS.encode("the cat sat")] * 9 + [UNITS.encode("a hat")], len(UNITS), 500)
BEAM = BeamSearch(lm_entries=len(LM[0]))
SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=12)


def beaming():
    made = adapter()
    made.read_with(BEAM, *LM)
    return made


@settings(max_examples=25, deadline=None)
@given(SIZES, st.integers(0, 99))
@torch.no_grad()
def test_by_beam_streamed_as_whole(sizes, seed):
    heard = torch.randn(1, sum(sizes), len(UNITS) + CONFIG.hidden, generator=torch.Generator().manual_seed(seed)) * 3
    made = beaming()
    streamed, whole = made.reader(), made.reader()
    for part in heard.split(sizes, 1):
        streamed.push(part)
    whole.push(heard)
    assert streamed.text == whole.text
    assert streamed.beam.best == whole.beam.best
    assert torch.equal(streamed.evidence(), whole.evidence())


def test_rows_are_replaced_from_the_first_changed_token_on():
    """After c there has been only a, after h only t: a first letter that might be either is read anew once the second is heard."""
    c, h, a, t = (UNITS.pieces.index(letter) for letter in "chat")
    made, llm = adapter(), backbone("smollm2")
    table = learn([[c, a], [h, t]] * 9, len(UNITS), 500)
    made.read_with(BeamSearch(len(table[0])), *table)
    reader = made.reader()
    for chances, text, back in (({c: 0.55, h: 0.45}, "c", 0), ({a: 0.1, t: 0.9}, "ht", 1)):
        heard = torch.full((1, 1, len(UNITS) + CONFIG.hidden), -30.0)
        for unit, chance in chances.items():
            heard[..., unit] = math.log(chance)
        reader.push(heard)
        assert reader.text == text
        taken_back, rows = reader.rows(llm, False)
        assert taken_back == back
        torch.testing.assert_close(rows, llm.embed(torch.tensor([llm.encode(text)])))


def test_acoustic_features_do_not_depend_on_the_beam_search():
    greedy, beam = adapter().reader(), beaming().reader()
    for reader in (greedy, beam):
        reader.push(spoken(UNITS.encode("cat hat")))
    assert torch.equal(greedy.evidence(), beam.evidence())


def test_the_beam_and_its_language_model_travel_with_a_checkpoint(tmp_path):
    """And a checkpoint of before has none, and is read greedily."""
    plain, config = adapter(), asdict(CONFIG)
    assert config["beam"] is None and plain.reader().beam is None
    assert {key for key in plain.state_dict() if "lm_" in key} == set()
    tiny = replace(ModelConfig.load("tiny"), adapter=replace(CONFIG, encoder_size=32))
    model = FreezeOmni(tiny).eval()
    model.adapter.read_with(BEAM, *LM)
    model.config = replace(tiny, adapter=model.adapter.config)
    loading.save(model, tmp_path / "model.safetensors")
    found = loading.load(tmp_path / "model.safetensors", device="cpu")
    assert found.config.adapter.beam == BEAM
    heard = spoken(UNITS.encode(TEXT))
    readers = [model.adapter.reader(), found.adapter.reader()]
    for reader in readers:
        reader.push(heard)
    assert [(one.units, one.score) for one in readers[0].beam.hypotheses] == [
        (other.units, other.score) for other in readers[1].beam.hypotheses
    ]
    assert readers[1].text == TEXT


def test_a_configuration_of_before_has_no_beam():
    data = replace(ModelConfig.load("tiny"), adapter=CONFIG).to_json()
    del data["adapter"]["beam"]
    assert ModelConfig.from_json(data).adapter == CONFIG
