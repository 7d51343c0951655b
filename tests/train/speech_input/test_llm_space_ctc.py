"""CTC in the LLM's embedding space: its tokens as units, told apart by cosine."""

import pytest
import torch

from reference_model.train.speech_input.llm_space_ctc import LLMTokenVocabulary, TokenSpace
from tests.support.tiny_models import backbone

TEXTS = ["Go high.", "Deaf egg, naïve 🎉"]


@pytest.fixture(scope="module")
def llm():
    return backbone("qwen2")


@pytest.mark.parametrize("text", TEXTS)
def test_text_survives_encoding_to_llm_tokens(llm, text):
    tokens = LLMTokenVocabulary.of(llm, TEXTS)
    units = tokens.encode(text)
    assert tokens.decode(units) == text
    assert 1 <= min(units) <= max(units) < len(tokens)


def test_tokens_that_do_not_occur_are_left_out(llm):
    tokens = LLMTokenVocabulary.of(llm, ["abc"])
    assert len(tokens) == 4
    assert tokens.decode(tokens.encode("a x b")) == "ab"


def test_how_long_they_are(llm):
    tokens = LLMTokenVocabulary.of(llm, ["ab"])
    assert tokens.letters(tokens.encode("ab")) == [1, 1]


def test_a_token_s_own_embedding_is_read_as_that_token(llm):
    tokens, space = LLMTokenVocabulary.of(llm, TEXTS), TokenSpace(llm.hidden_size)
    embeddings = llm.embed(torch.tensor([tokens.ids]))[0]
    logits = space(3.0 * embeddings[None], embeddings)
    assert logits.shape == (1, len(embeddings), len(tokens))
    assert logits[0].argmax(-1).tolist() == list(range(1, len(tokens)))
    assert space(space.blank[None, None], embeddings).argmax() == 0
