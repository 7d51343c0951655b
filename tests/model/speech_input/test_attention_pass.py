"""The second pass by attention: a draft changes the speed, not the text; the text cannot run in circles; the end is CTC's."""

from __future__ import annotations

import json
import string

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from reference_model.speech_input import attention_pass
from reference_model.speech_input.attention_pass import AttentionPass, repeats
from reference_model.speech_input.bpe_units import with_mark
from reference_model.speech_input.whisper_decoder import WhisperDecoder
from reference_model.speech_input.whisper_encoder import WhisperConfig

SIGNS = [chr(256 + 32), *string.ascii_lowercase]  # "Ġ", a space in the byte-level alphabet, and letters


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer")
    tokenizer = Tokenizer(models.BPE({sign: i for i, sign in enumerate(SIGNS)}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "config.json").write_text(json.dumps({"suppress_ids": [26], "suppress_ids_begin": [0, 30]}))
    return path


@pytest.fixture(scope="module")
def attention(folder):
    """A tiny random decoder whose tokens 0 to 26 are signs, 30 the end, 31 and 32 the opening."""
    patched = pytest.MonkeyPatch()
    patched.setattr(attention_pass, "END", 30)
    patched.setattr(attention_pass, "OPENING", (31, 32))
    torch.manual_seed(3)
    decoder = WhisperDecoder(WhisperConfig(size=32, layers=2, heads=2), 33, 120)
    with torch.no_grad():
        decoder.positional_embedding.normal_()
        decoder.token_embedding.weight.mul_(2.0)
    yield AttentionPass(decoder, folder)
    patched.undo()


def frames(seed):
    return torch.randn(1, 40, 32, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 30), st.text(string.ascii_lowercase + " ", max_size=30))
@settings(max_examples=60, deadline=None)
def test_every_draft_gives_the_same_text_and_the_same_log_probabilities(attention, seed, draft):
    heard = frames(seed)
    _, *plain = attention.hypotheses(heard, "")
    given_draft, *drafted = attention.hypotheses(heard, draft)
    assert given_draft.text == draft
    assert [each.text for each in drafted] == [each.text for each in plain]
    assert [each.log_p for each in drafted] == pytest.approx([each.log_p for each in plain], abs=1e-3)


def test_the_text_as_its_own_draft_takes_one_step_and_has_its_own_log_probability(attention):
    heard = frames(1)
    whole = attention.hypotheses(heard, "")[-1]
    calls = []
    handle = attention._decoder.register_forward_hook(lambda *_: calls.append(1))
    draft, *_, found = attention.hypotheses(heard, whole.text)
    handle.remove()
    assert found.text == whole.text and len(calls) <= 2
    if found.log_p > -100:  # it ended by itself
        assert draft.log_p <= 0


def test_hypotheses_are_the_beginnings_of_one_text_that_holds_no_forbidden_token(attention):
    for seed in range(8):
        texts = [each.text for each in attention.hypotheses(frames(seed), "cat")[1:]]
        assert texts and all(texts[-1].startswith(text) for text in texts)
        assert "z" not in texts[-1]  # token 26
        assert len(texts[-1]) <= attention_pass.TOKENS + attention_pass.TOKENS_PER_S


@pytest.mark.parametrize(
    ("tokens", "found"),
    [
        ([1, 2, 3], False),
        ([7, 7], False),
        ([7, 7, 7], True),
        ([1, 2, 1, 2], False),
        ([1, 2, 1, 2, 1, 2], True),
        ([1, 2, 3, 4, 1, 2, 3, 4], True),
        ([1, 2, 3, 4, 1, 2, 3], False),
        ([], False),
    ],
)
def test_a_text_that_runs_in_circles_is_noticed(tokens, found):
    assert repeats(tokens) == found


@pytest.mark.parametrize(
    ("text", "heard", "expected"),
    [
        ("What is it?", "what is it.", "What is it?"),
        ("And then", "and then.", "And then."),
        ("And then.", "and then", "And then"),
        ("And then...", "and then", "And then"),
        ("", "", ""),
    ],
)
def test_a_sentence_is_over_where_ctc_heard_its_end(text, heard, expected):
    assert with_mark(text, heard) == expected
