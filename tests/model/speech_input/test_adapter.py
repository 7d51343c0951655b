"""The adapter: the published numbers, and streams that equal whole recordings."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fobench.errors import FobenchError
from reference_model.checkpoint.published.audiollm_keys import RENAMES
from reference_model.checkpoint.published.key_mapping import rename
from reference_model.speech_input.adapter import Adapter, AdapterConfig
from reference_model.speech_input.streaming_encoder import stack, unstack
from tests.support.golden_data import golden, weights

CLOSE = {"atol": 1e-5, "rtol": 0}


@pytest.fixture(scope="module")
def published() -> Adapter:
    adapter = Adapter(AdapterConfig(encoder_size=32, llm_size=64, left=4)).eval()
    given = {f"adpter.{key}": value for key, value in weights("adapter", "adpter.").items()}
    names = rename(given, RENAMES)
    adapter.load_state_dict({names[key].removeprefix("adapter."): value for key, value in given.items()})
    return adapter.requires_grad_(False)


def test_the_published_adapter_streams_the_published_numbers(published):
    numbers, state = golden("adapter"), published.begin(1)
    for i, frames in enumerate(numbers["in/enc_chunks"]):
        out, state = published.step(frames[None], state)
        torch.testing.assert_close(out[0], numbers["out/stream_chunks"][i], **CLOSE)
        assert torch.equal(state.frames[0].T, numbers["out/stream_cache_after"][i])


def test_the_published_whole_recordings(published):
    numbers = golden("adapter")
    frames = numbers["in/enc_chunks"].reshape(1, 112, 32)
    torch.testing.assert_close(published(frames)[0], numbers["out/full"], **CLOSE)
    out, mask = published(frames[:, :7])
    torch.testing.assert_close(out, numbers["out/full_first7_frames"], **CLOSE)
    assert torch.equal(mask, numbers["out/full_first7_mask"][:, 0].bool())


def test_the_published_batch_leaves_its_input_alone(published):
    numbers = golden("adapter")
    frames = numbers["in/batch2"].clone()
    out, mask = published(frames, torch.arange(112) < numbers["in/batch2_lens"][:, None])
    torch.testing.assert_close(out, numbers["out/batch2"], **CLOSE)
    assert torch.equal(mask, numbers["out/batch2_mask"][:, 0].bool())
    assert torch.equal(frames, numbers["in/batch2"])


@pytest.mark.parametrize(("kernel", "stride", "left"), [(5, 2, 4), (5, 2, None), (8, 4, None), (4, 4, None), (3, 1, 2)])
@given(pushes=st.lists(st.integers(1, 8), min_size=1, max_size=6), seed=st.integers(0, 2**16))
@settings(max_examples=10, deadline=None)
def test_streamed_adapter_output_equals_offline(kernel, stride, left, pushes, seed):
    torch.manual_seed(seed)
    adapter = Adapter(AdapterConfig(8, 12, kernel, stride, left=left)).requires_grad_(False)
    frames = torch.randn(2, stride * sum(pushes), 8)
    state, parts = adapter.begin(2), []
    for part in frames.split([stride * n for n in pushes], 1):
        out, state = adapter.step(part, state)
        parts.append(out)
    torch.testing.assert_close(torch.cat(parts, 1), adapter(frames)[0], **CLOSE)


def test_the_clean_form_uses_the_newest_frame_and_the_published_one_does_not():
    frames = torch.randn(1, 4, 8)
    newer = frames.clone()
    newer[:, -1] += 1.0
    for left, uses in ((None, True), (4, False)):
        adapter = Adapter(AdapterConfig(8, 12, left=left)).requires_grad_(False)
        assert torch.equal(adapter(frames)[0], adapter(newer)[0]) is not uses


def test_sessions_step_together_as_they_do_alone():
    adapter = Adapter(AdapterConfig(8, 12, kernel=8, stride=4)).requires_grad_(False)
    frames = torch.randn(3, 8, 8)
    states = [adapter.step(torch.randn(1, 4, 8), adapter.begin(1))[1] for _ in range(3)]
    together, state = adapter.step(frames, stack(states))
    for i, after in enumerate(unstack(state)):
        alone, expected = adapter.step(frames[i : i + 1], states[i])
        torch.testing.assert_close(together[i : i + 1], alone, **CLOSE)
        assert torch.equal(after.frames, expected.frames)


def test_an_invalid_left_context_is_an_error():
    with pytest.raises(
        FobenchError, match=r"left=5 does not fit kernel=5 and stride=2; it is at least .* = 3 and at most"
    ):
        AdapterConfig(8, 12, left=5)


def test_a_step_of_half_an_output_is_an_error():
    adapter = Adapter(AdapterConfig(8, 12))
    with pytest.raises(ValueError, match="3 frames are not a multiple of the adapter's stride, 2"):
        adapter.step(torch.zeros(1, 3, 8), adapter.begin(1))


def test_the_adapter_has_the_published_number_of_parameters():
    with torch.device("meta"):
        adapter = Adapter(AdapterConfig(1024, 3584, left=4))
    assert sum(p.numel() for p in adapter.parameters()) == 17_835_520
