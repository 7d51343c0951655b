"""The streaming Whisper encoder: Whisper's own numbers with full context, no lookahead, positions that wrap."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fobench.errors import FobenchError
from reference_model.speech_input.whisper_encoder import WhisperConfig, sinusoids

TINY = WhisperConfig(size=32, layers=2, heads=4, positions=24)


def build(config=TINY):
    torch.manual_seed(0)
    return config.build().eval().requires_grad_(False)


@pytest.fixture
def original():
    """A random encoder of OpenAI's own class, for 48 mel frames."""
    model = pytest.importorskip("whisper.model")
    torch.manual_seed(1)
    return model.AudioEncoder(n_mels=80, n_ctx=24, n_state=32, n_head=4, n_layer=2).eval().requires_grad_(False)


def delayed(encoder, mel):
    """The mel frames [B, N, 80] one frame later, after a frame of silence, as Whisper takes them: [B, 80, N]."""
    silence = torch.full_like(mel[:, :1], encoder.front.silence)
    return torch.cat([silence, mel[:, :-1]], 1).transpose(1, 2)


def test_full_context_is_whisper_on_mel_frames_one_frame_late(original):
    encoder = build()
    encoder.load_whisper(original.state_dict())
    mel = torch.randn(2, 48, 80)
    mel[:, -1] = 0.0  # Whisper does not see the last frame: it pads with zeros in its place
    out, mask = encoder(mel)
    torch.testing.assert_close(out, original(delayed(encoder, mel)), atol=1e-4, rtol=0)
    assert mask.all()


def test_the_encoder_of_a_complete_whisper_model_loads(original):
    whole = {f"encoder.{key}": value for key, value in original.state_dict().items()} | {
        "decoder.ln.bias": torch.zeros(32)
    }
    encoder = build()
    encoder.load_whisper(whole)
    assert torch.equal(encoder.blocks[1].attn.key.weight, original.blocks[1].attn.key.weight)


def test_weights_of_another_size_are_an_error(original):
    with pytest.raises(FobenchError, match="do not fit"):
        build(replace(TINY, size=16)).load_whisper(original.state_dict())


def test_16_mel_frames_give_8_frames_and_depend_on_nothing_later():
    encoder = build()
    mel = torch.randn(1, 48, 80)
    later = mel.clone()
    later[:, 32:] += 1.0
    ours, theirs = encoder(mel, None, 8, 16)[0], encoder(later, None, 8, 16)[0]
    torch.testing.assert_close(ours[:, :16], theirs[:, :16])
    assert ours.shape == (1, 24, 32)


def test_the_newest_mel_frame_is_used():
    encoder = build(replace(TINY, chunk=1))
    mel = torch.randn(1, 2, 80)
    newer = mel.clone()
    newer[:, -1] += 1.0
    assert not torch.equal(encoder.step(mel, encoder.begin(1))[0], encoder.step(newer, encoder.begin(1))[0])


def test_positions_start_again_where_the_table_ends():
    encoder = build(replace(TINY, left_chunks=1))
    mel = torch.randn(1, 16, 80)
    state = encoder.begin(1)
    first = encoder.step(mel, state)[0]
    wrapped = encoder.step(mel, replace(state, position=torch.tensor([24])))[0]
    moved = encoder.step(mel, replace(state, position=torch.tensor([8])))[0]
    assert torch.equal(first, wrapped)
    assert not torch.equal(first, moved)


def test_the_position_table_is_whispers():
    model = pytest.importorskip("whisper.model")
    torch.testing.assert_close(sinusoids(1500, 384), model.sinusoids(1500, 384))


def test_sizes():
    with torch.device("meta"):
        encoder = WhisperConfig().build()
    assert sum(p.numel() for p in encoder.parameters()) == 7_632_384  # Whisper tiny's encoder without its table
    assert (encoder.frame_rate_hz, encoder.chunk, encoder.context, encoder.size) == (50.0, 16, 3, 384)
