"""The contract of all speech encoders: streamed equals offline, batched equals single, states are immutable."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_model.speech_input.conv_transformer import ConvTransformerConfig
from reference_model.speech_input.streaming_encoder import EncoderState, chunk_mask, stack, unstack
from reference_model.speech_input.whisper_encoder import WhisperConfig

CLOSE = {"atol": 2e-5, "rtol": 0}
TINY = {
    "conv_transformer": ConvTransformerConfig(size=16, layers=2, heads=2, feed_forward=32, left_chunks=3),
    "whisper": WhisperConfig(size=16, layers=2, heads=2, left_chunks=3),
}
kinds = pytest.mark.parametrize("kind", TINY)


def build(kind, **changes):
    torch.manual_seed(0)
    return replace(TINY[kind], **changes).build().eval().requires_grad_(False)


def features(encoder, chunks, batch=1, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, chunks * encoder.chunk, 80, generator=generator)


def streamed(encoder, x, state):
    parts = []
    for chunk in x.split(encoder.chunk, 1):
        out, state = encoder.step(chunk, state)
        parts.append(out)
    return torch.cat(parts, 1), state


@kinds
@given(chunk=st.integers(1, 8), left=st.integers(0, 4), chunks=st.integers(1, 9), seed=st.integers(0, 2**16))
@settings(max_examples=25, deadline=None)
def test_streamed_frames_equal_offline(kind, chunk, left, chunks, seed):
    encoder = build(kind, chunk=chunk, left_chunks=left)
    x = features(encoder, chunks, batch=2, seed=seed)
    offline, mask = encoder(x, None, chunk, left)
    torch.testing.assert_close(streamed(encoder, x, encoder.begin(2))[0], offline, **CLOSE)
    assert offline.shape == (2, chunk * chunks, encoder.size)
    assert mask.all()


@kinds
def test_streamed_frames_equal_offline_with_weights_of_float16(kind):
    """As those of the released checkpoints, which a CPU multiplies by another kernel."""
    encoder = build(kind)
    for parameter in encoder.parameters():
        parameter.copy_(parameter.half())
    x = features(encoder, 6)
    with torch.inference_mode():
        offline, _ = encoder(x, None, encoder.config.chunk, encoder.config.left_chunks)
        torch.testing.assert_close(streamed(encoder, x, encoder.begin(1))[0], offline, **CLOSE)
    exact = encoder.double()
    torch.testing.assert_close(
        offline.double(), exact(x.double(), None, encoder.config.chunk, encoder.config.left_chunks)[0], **CLOSE
    )


@kinds
@given(cuts=st.lists(st.integers(0, 4000), min_size=1, max_size=8))
@settings(max_examples=10, deadline=None)
def test_samples_pushed_unevenly_give_the_frames_of_the_whole_recording(kind, cuts):
    encoder = build(kind)
    cuts = [2560, *cuts]
    samples = torch.randn(1, sum(cuts), generator=torch.Generator().manual_seed(sum(cuts))) * 0.1
    front, state, parts, heard = None, encoder.begin(1), [], torch.zeros(1, 0, 80)
    for push in samples.split(cuts, 1):
        new, front = encoder.front.step(push, front)
        heard = torch.cat([heard, new], 1)
        whole = heard.shape[1] // encoder.chunk * encoder.chunk
        if whole:
            out, state = streamed(encoder, heard[:, :whole], state)
            parts.append(out)
        heard = heard[:, whole:]
    frames = torch.cat(parts, 1)
    features = encoder.front.offline(samples)[:, : sum(cuts) // 2560 * encoder.chunk]
    offline, _ = encoder(features, None, encoder.config.chunk, encoder.config.left_chunks)
    torch.testing.assert_close(frames, offline, atol=1e-3, rtol=0)


@kinds
def test_a_long_stream_equals_offline_and_its_state_does_not_grow(kind):
    encoder = build(kind)
    x = features(encoder, 60)
    out, state = streamed(encoder, x, encoder.begin(1))
    offline, _ = encoder(x, None, encoder.config.chunk, encoder.config.left_chunks)
    torch.testing.assert_close(out, offline, **CLOSE)
    assert state.position.tolist() == [60 * encoder.config.chunk]
    assert {key.shape for key in state.keys + state.values} == {(1, 2, encoder.config.left, 8)}


@kinds
def test_the_frames_before_a_stream_are_its_context(kind):
    encoder = build(kind, left_chunks=0)
    x = features(encoder, 3)
    first, rest = x[:, : encoder.chunk], x[:, encoder.chunk :]
    state = encoder.begin(1, first[:, -encoder.context :])
    goes_on = encoder.step(first, encoder.begin(1))[1]
    for mine, theirs in zip(state.carried, goes_on.carried, strict=True):
        torch.testing.assert_close(mine, theirs, **CLOSE)
    offline, _ = encoder(rest, None, encoder.config.chunk, 0, before=first[:, -encoder.context :])
    torch.testing.assert_close(streamed(encoder, rest, state)[0], offline, **CLOSE)


@kinds
def test_sessions_of_different_ages_step_together_as_they_do_alone(kind):
    encoder = build(kind)
    states = [streamed(encoder, features(encoder, age, seed=age), encoder.begin(1))[1] for age in (1, 2, 7)]
    x = features(encoder, 2, batch=3)
    together, state = streamed(encoder, x, stack([*states]))
    for i, after in enumerate(unstack(state)):
        alone, expected = streamed(encoder, x[i : i + 1], states[i])
        torch.testing.assert_close(together[i : i + 1], alone, **CLOSE)
        torch.testing.assert_close(after.values[1], expected.values[1], **CLOSE)
        assert after.position.tolist() == expected.position.tolist()


@kinds
def test_a_kept_state_is_a_fork(kind):
    encoder = build(kind)
    x = features(encoder, 3)
    _, kept = encoder.step(x[:, : encoder.chunk], encoder.begin(1))
    once = streamed(encoder, x[:, encoder.chunk :], kept)[0]
    again = streamed(encoder, x[:, encoder.chunk :], kept)[0]
    assert torch.equal(once, again)


@kinds
@pytest.mark.parametrize(("chunk", "left"), [(None, None), (3, 1), (3, None)])
def test_what_is_behind_the_end_of_a_recording_changes_nothing(kind, chunk, left):
    encoder = build(kind)
    x = features(encoder, 4, batch=2)
    length = 2 * encoder.chunk + 5
    out, mask = encoder(x, torch.tensor([x.shape[1], length]), chunk, left)
    count = mask[1].sum()
    alone, _ = encoder(x[1:, :length], None, chunk, left)
    torch.testing.assert_close(out[1:, :count], alone, **CLOSE)
    assert mask[0].all()
    assert out.isfinite().all()


@kinds
def test_gradients_reach_every_parameter_and_are_finite(kind):
    encoder = build(kind).train().requires_grad_(True)
    x = features(encoder, 4, batch=2)
    out, mask = encoder(x, torch.tensor([x.shape[1], encoder.chunk]), 2, 1)
    (out * torch.randn(out.shape))[mask].sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@kinds
def test_a_step_of_another_size_is_an_error(kind):
    encoder = build(kind)
    with pytest.raises(ValueError, match="A step takes 16 feature frames, not 15"):
        encoder.step(torch.zeros(1, 15, 80), encoder.begin(1))


@kinds
def test_bfloat16_streams_too(kind):
    encoder = build(kind).bfloat16()
    x = features(encoder, 5)
    out, state = streamed(encoder, x, encoder.begin(1))
    assert out.dtype == state.keys[0].dtype == torch.bfloat16
    reference, _ = streamed(build(kind), x, build(kind).begin(1))
    assert (out - reference).abs().max() < 0.2


@kinds
def test_everything_is_computed_where_the_encoder_is(kind):
    encoder = build(kind).to("meta")  # a mixture of devices is an error there, too
    out, state = encoder.step(torch.zeros(1, 16, 80, device="meta"), encoder.begin(1))
    assert out.device == state.keys[0].device == state.position.device == torch.device("meta")
    out, mask = encoder(torch.zeros(2, 48, 80, device="meta"), torch.tensor([48, 20]), 2, 1)
    assert out.device == mask.device == torch.device("meta")


@kinds
def test_autocast_streams_as_it_trains(kind):
    encoder = build(kind)
    x = features(encoder, 5)
    with torch.autocast("cpu", torch.bfloat16):
        out, _ = streamed(encoder, x, encoder.begin(1))
        offline, _ = encoder(x, None, encoder.config.chunk, encoder.config.left_chunks)
    assert (out - offline).abs().max() < 0.1


def test_the_chunk_mask():
    assert chunk_mask(5, 2, 1).int().tolist() == [
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 1, 1, 0],
        [0, 0, 1, 1, 1],
    ]
    assert chunk_mask(5, 2, None)[4].all()
    assert chunk_mask(5, None, 0).all()


def test_states_stack_and_unstack():
    cache = torch.zeros(1, 2, 6, 4)
    one, two = (
        EncoderState((torch.full((1, 2, 3), v),), (cache,), (cache,), torch.tensor([4]), torch.tensor([5]))
        for v in (1.0, 2.0)
    )
    both = stack([one, two])
    assert both.carried[0][:, 0, 0].tolist() == [1.0, 2.0]
    assert torch.equal(unstack(both)[1].carried[0], two.carried[0])
