"""Whisper's text decoder: step by step as at once, and as the recognizer's implementation in numpy computes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fobench.assets import store
from fobench_plugins.recognizers.whisper_arrays import ArrayWhisper, _Decoder
from reference_model.speech_input.attention_pass import OPENING, AttentionPass
from reference_model.speech_input.whisper_decoder import WhisperDecoder
from reference_model.speech_input.whisper_encoder import WhisperConfig

CONFIG = WhisperConfig(size=16, layers=2, heads=2)


def decoder():
    torch.manual_seed(0)
    made = WhisperDecoder(CONFIG, 30, 40)
    torch.nn.init.normal_(made.positional_embedding)
    return made.eval().requires_grad_(False)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6))
@settings(max_examples=20, deadline=None)
def test_tokens_in_any_steps_give_the_logits_of_all_at_once(sizes):
    made = decoder()
    ids, audio = torch.randint(30, (1, sum(sizes))), made.listen(torch.randn(1, 9, 16))
    whole, _ = made(ids, audio)
    parts, pasts = [], None
    for part in ids.split(sizes, 1):
        logits, pasts = made(part, audio, pasts)
        parts.append(logits)
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-5)


def test_a_token_does_not_see_those_after_it():
    made = decoder()
    ids, audio = torch.randint(30, (1, 8)), made.listen(torch.randn(1, 9, 16))
    other = ids.clone()
    other[0, 5:] = (other[0, 5:] + 1) % 30
    before, after = made(ids, audio)[0], made(other, audio)[0]
    assert torch.allclose(before[:, :5], after[:, :5], atol=1e-5)
    assert not torch.allclose(before[:, 5:], after[:, 5:], atol=1e-3)


@pytest.mark.slow
def test_tiny_en_computes_what_the_recognizer_in_numpy_does():
    folder = store.get("whisper-tiny.en-ct2")
    arrays, made = ArrayWhisper(folder, name="tiny.en"), AttentionPass.load()._decoder
    frames = np.random.default_rng(0).standard_normal((70, 384)).astype(np.float32)
    other = _Decoder(arrays._state, arrays._sizes["n_text_layer"], frames)
    ids = [*OPENING, 1867, 318, 262, 3139]
    expected = np.stack([other.step(token) for token in ids])
    with torch.inference_mode():
        logits, _ = made(torch.tensor([ids]), made.listen(torch.from_numpy(frames)[None]))
    assert np.allclose(logits[0], expected, atol=2e-3 * np.abs(expected).max())
