"""The paper's encoder: the published numbers, sizes, and random chunks in training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from reference_model.checkpoint.published.audiollm_keys import RENAMES
from reference_model.checkpoint.published.key_mapping import rename
from reference_model.speech_input.conv_transformer import (
    ConvTransformerConfig,
    ConvTransformerEncoder,
    draw_chunk,
    sinusoids,
)
from reference_model.speech_input.streaming_encoder import chunk_mask
from tests.support.golden_data import golden, weights

CLOSE = {"atol": 2e-5, "rtol": 0}
PUBLISHED = ConvTransformerConfig(
    size=32, layers=2, heads=4, feed_forward=64, lagging_positions=True, zero_context=True
)


def load(config: ConvTransformerConfig) -> ConvTransformerEncoder:
    encoder = config.build().eval()
    given = {f"encoder.{key}": value for key, value in weights("encoder", "encoder.").items()}
    names = rename(given, RENAMES)
    encoder.load_state_dict({names[key].removeprefix("encoder."): value for key, value in given.items()})
    return encoder.requires_grad_(False)


@pytest.fixture(scope="module")
def encoder() -> ConvTransformerEncoder:
    return load(PUBLISHED)


@pytest.fixture(scope="module")
def stream(encoder):
    state, parts = encoder.begin(1), []
    for chunk in golden("encoder")["in/chunks_logmel"]:
        out, state = encoder.step(chunk[None, 3:], state)
        parts.append(out[0])
    return torch.stack(parts), state


def test_the_published_encoder_streams_the_published_numbers(stream):
    frames, state = stream
    torch.testing.assert_close(frames, golden("encoder")["out/stream_chunks"], **CLOSE)
    for i in range(2):
        torch.testing.assert_close(state.keys[i], golden("encoder")[f"out/stream_final_cache_k_layer{i}"], **CLOSE)
        torch.testing.assert_close(state.values[i], golden("encoder")[f"out/stream_final_cache_v_layer{i}"], **CLOSE)


def test_the_published_positions_start_again_at_4932(encoder, stream):
    assert encoder.config.wrap == 4932
    chunks = golden("encoder")["in/chunks_logmel"]
    state = replace(stream[1], position=torch.tensor([4924]), carried=(chunks[:1, :3],))
    for i in range(4):
        out, state = encoder.step(chunks[i : i + 1, 3:], state)
        torch.testing.assert_close(out[0], golden("encoder")["out/wrap_chunks"][i], **CLOSE)


@pytest.mark.parametrize(("run", "before"), [("stream", 0), ("wrap", 4924)])
def test_the_published_positions(encoder, run, before):
    """Row by row of the table, exactly; in a cache that is not full, of its filled part."""
    numbers, config = golden("encoder"), encoder.config
    ends = numbers[f"out/{run}_pe_index_after"].tolist()
    starts, lengths = (numbers[f"out/{run}_pos_{which}"].tolist() for which in ("start", "len"))
    for start, length, begin in zip(starts, lengths, [before, *ends], strict=False):
        filled = config.left if before else min(begin, config.left)
        state = replace(encoder.begin(1), position=torch.tensor([begin]), filled=torch.tensor([filled]))
        positions = encoder._positions(state)[0, config.left - filled :]
        assert positions.tolist() == list(range(start, start + length))


def test_the_published_chunk_mask():
    expected = golden("encoder")["out/chunk_mask_112_4_16"].bool()
    assert torch.equal(chunk_mask(112, 4, 16), expected)


@pytest.mark.parametrize(
    ("name", "chunk", "left"),
    [("full_chunk4_left16", 4, 16), ("full_chunk4_left_all", 4, None), ("full_context", None, None)],
)
def test_the_published_whole_recording(encoder, name, chunk, left):
    features = golden("encoder")["out/full_input_logmel"].reshape(1, 451, 80)[:, 3:]
    out, mask = encoder(features, None, chunk, left)
    torch.testing.assert_close(out, golden("encoder")[f"out/{name}"], **CLOSE)
    assert mask.all()


def test_the_published_encoder_maps_a_batch_to_the_published_numbers(encoder):
    numbers = golden("encoder")
    features = numbers["in/batch2_logmel"]  # with 3 frames of context
    out, mask = encoder(features[:, 3:], numbers["in/batch2_lens"] - 3, 4, 16, features[:, :3])
    torch.testing.assert_close(out, numbers["out/batch2_chunk4_left16"], **CLOSE)
    assert torch.equal(mask, numbers["out/batch2_mask_out"][:, 0].bool())
    assert mask.sum(1).tolist() == numbers["out/batch2_lens_out"].tolist()


def test_clean_positions_stream_as_they_train():
    clean = load(replace(PUBLISHED, lagging_positions=False))
    features = golden("encoder")["out/full_input_logmel"].reshape(1, 451, 80)[:, 3:]
    state, parts = clean.begin(1), []
    for chunk in features.split(16, 1):
        out, state = clean.step(chunk, state)
        parts.append(out)
    torch.testing.assert_close(torch.cat(parts, 1), golden("encoder")["out/full_chunk4_left16"], **CLOSE)


def test_silence_is_the_clean_context():
    clean = load(replace(PUBLISHED, zero_context=False))
    assert torch.equal(clean.begin(2).carried[0], torch.full((2, 3, 80), clean.front.silence))


def test_sinusoids():
    table = sinusoids(torch.tensor([0, 2]), 4)
    expected = torch.tensor([[0.0, 1.0, 0.0, 1.0], [2.0, 2.0, 0.02, 0.02]])
    expected[1] = torch.stack([expected[1, 0].sin(), expected[1, 1].cos(), expected[1, 2].sin(), expected[1, 3].cos()])
    torch.testing.assert_close(table, expected)


def test_the_encoder_has_the_published_number_of_parameters():
    with torch.device("meta"):
        encoder = ConvTransformerConfig().build()
    assert sum(p.numel() for p in encoder.parameters()) == 357_950_464
    assert sum(b.numel() for b in encoder.buffers()) == 160
    assert sum(p.numel() for p in encoder.layers[0].parameters()) == 13_646_848
    assert (encoder.frame_rate_hz, encoder.chunk, encoder.context, encoder.size) == (25.0, 16, 3, 1024)


def test_chunks_are_drawn_as_the_paper_does():
    generator = torch.Generator().manual_seed(0)
    drawn = [draw_chunk(generator) for _ in range(4000)]
    limited = [(chunk, left) for chunk, left in drawn if chunk is not None]
    assert 1900 < len(limited) < 2100
    assert {chunk for chunk, _ in limited} == set(range(1, 26))
    assert all(left is not None and 0 <= left * chunk <= 250 for chunk, left in limited)
    assert all(left is None for chunk, left in drawn if chunk is None)
    assert draw_chunk(torch.Generator().manual_seed(7)) == draw_chunk(torch.Generator().manual_seed(7))
