"""reference_model/codec/ticodec.py against the published implementation's numbers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_model.checkpoint.published.codec_keys import RENAMES, UNUSED, WITHOUT_ENCODER, fuse_weight_norm
from reference_model.checkpoint.published.key_mapping import rename
from reference_model.checkpoint.safetensors_io import fill
from reference_model.codec.exact_streaming import Windowed, receptive_field
from reference_model.codec.ticodec import GENERATOR, TiCodec, TiCodecConfig
from reference_model.speech_output.silence_splitter import SilenceSplitConfig, SilenceSplitter
from tests.support.golden_data import FOLDER, golden, meta, weights
from tests.support.published_weights import formula_weights

CLOSE = {"atol": 2e-5, "rtol": 0}
FULL = {"atol": 5e-5, "rtol": 0}
RUNS = json.loads((FOLDER / "codec.json").read_text())["runs"]


def loaded(config, tensors, unused):
    codec = TiCodec(config).eval().requires_grad_(False)
    plain = fuse_weight_norm(tensors)
    names = rename(plain, RENAMES, unused)
    fill(codec, {ours: plain[theirs] for theirs, ours in names.items()}, "the published weights")
    return codec


@pytest.fixture(scope="module")
def numbers():
    return golden("codec")


@pytest.fixture(scope="module")
def codec():
    """Narrow, with random weights."""
    h, widths = meta("codec")["h"], meta("codec")["patched_widths"]
    generator = replace(
        GENERATOR, inputs=widths["local"], channels=h["upsample_initial_channel"], global_size=widths["global"]
    )
    config = TiCodecConfig(cardinality=h["n_codes"], generator=generator, voice=tuple(h["global_tokens"]))
    return loaded(config, weights("codec", ""), WITHOUT_ENCODER)


@pytest.fixture(scope="module")
def full():
    """The published sizes, with weights computed by a formula."""
    return loaded(TiCodecConfig(with_encoder=True), formula_weights("codec."), UNUSED)


@pytest.fixture(scope="module")
def codes(numbers):
    return numbers["in/tokens"][None, None]  # [1, 1, 133]


def test_the_published_waveform(codec, codes, numbers):
    torch.testing.assert_close(codec.decode(codes)[0], numbers["out/wave_whole"], **CLOSE)
    torch.testing.assert_close(codec.decode(codes[..., :8])[0], numbers["out/wave_first8_tokens"], **CLOSE)


def test_fused_weights(codec, numbers):
    generator = codec.generator
    torch.testing.assert_close(generator.pre.weight[:4], numbers["out/fused_weight_conv_pre_first4"], **CLOSE)
    torch.testing.assert_close(generator.stages[0].up.weight[:4], numbers["out/fused_weight_ups0_first4"], **CLOSE)


def test_embeddings(codec, codes, numbers):
    torch.testing.assert_close(codec.quantizer.frames(codes)[0, :, :8], numbers["out/local_emb_first8"], **CLOSE)
    voice = codec.quantizer.voice(numbers["in/global_tokens"][None])[0]
    torch.testing.assert_close(voice, numbers["out/global_emb"], **CLOSE)


def test_every_step_of_the_generator(codec, codes, numbers):
    seen = {}
    generator = codec.generator
    generator_parts = {"conv_pre": generator.pre}
    for index, stage in enumerate(generator.stages):
        generator_parts[f"ups{index}_out"] = stage.up
        if index < 3:
            generator_parts[f"stage{index}_out_after_lrelu"] = stage
    generator_parts |= {f"resblock{index}_out": block for index, block in enumerate(generator.stages[0].blocks)}
    hooks = [
        part.register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, out))
        for name, part in generator_parts.items()
    ]
    codec.decode(codes[..., :8])
    for hook in hooks:
        hook.remove()
    for name, value in seen.items():
        value = torch.nn.functional.leaky_relu(value, 0.1) if name.endswith("lrelu") else value
        expected = numbers[f"out/dbg8/{name}"]
        torch.testing.assert_close(
            value[0, :, : expected.shape[-1]], expected, **CLOSE, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("run", range(3))
@pytest.mark.parametrize("pushed", [1, 7, 133])
def test_streamed_in_chunks_and_cut_at_quiet_places(codec, codes, numbers, run, pushed):
    args = RUNS[run]["args"]
    size, rule = args["codec_chunk_size"], SilenceSplitConfig(args["N"], args["seg_threshold"])
    state, chunks = None, []
    for piece in codes.split(pushed, -1):
        wave, state = codec.decode_step(piece, state, chunk=size)
        chunks += [chunk for chunk in wave[0].split(size * 600) if len(chunk)]
    wave, _ = codec.decode_step(codes[..., :0], state, last=True, chunk=size)
    assert [rule.place(chunk) for chunk in chunks] == [log["cut_index"] for log in RUNS[run]["find_min_log"]]
    cutter = SilenceSplitter(rule)
    pieces = [cutter.push(chunk) for chunk in chunks] + [cutter.push(wave[0], last=True)]
    assert [len(piece) for piece in pieces if len(piece)] == numbers[f"out/run{run}_segment_lengths"].tolist()
    torch.testing.assert_close(torch.cat(pieces), numbers[f"out/run{run}_segments_concat"], **CLOSE)


def test_without_a_chunk_size_all_but_the_context_is_decoded_at_once(codec, codes):
    state, lengths = None, []
    for size in (5, 20, 40, 1):
        wave, state = codec.decode_step(codes[..., :size], state)
        lengths.append(wave.shape[-1] // 600)
    wave, state = codec.decode_step(codes[..., :0], state, last=True)
    assert [*lengths, wave.shape[-1] // 600] == [0, 15, 40, 1, 10]


def test_a_stream_without_codes_is_without_sound(codec, codes):
    wave, _ = codec.decode_step(codes[..., :0], last=True)
    assert wave.shape == (1, 0)


@given(sizes=st.lists(st.integers(1, 8), min_size=1, max_size=6))
@settings(max_examples=6, deadline=None)
def test_with_all_of_its_context_streamed_is_as_offline(codec, codes, sizes):
    windowed = Windowed(codec.decode, codec.layers, lambda codes: torch.zeros(1, 0))
    part = codes[..., : sum(sizes)]
    state, pieces = None, []
    for index, piece in enumerate(part.split(sizes, -1)):
        wave, state = windowed.step(piece, state, last=index == len(sizes) - 1)
        pieces.append(wave)
    torch.testing.assert_close(torch.cat(pieces, -1), codec.decode(part), atol=1e-5, rtol=0)


def test_more_context_is_needed_than_is_published(codec):
    left, right = receptive_field(codec.layers)
    assert min(left, right) > TiCodecConfig().context


def test_published_sizes_and_the_published_voice(full):
    numbers = golden("full_formula")
    wave = full.decode(numbers["in/codec_tokens"][None, None])
    assert wave.shape == (1, 8400)
    torch.testing.assert_close(wave[0], numbers["out/codec_wave"], **FULL)


def test_published_encoder(full):
    numbers = golden("full_formula")
    audio = numbers["in/codec_encode_wave"][None]
    frames, voice = full.encoder(audio)
    torch.testing.assert_close(frames[0, :, 5], numbers["out/codec_encoder_features_frame5"], **FULL)
    torch.testing.assert_close(voice[0], numbers["out/codec_encoder_global"], **FULL)
    codes, voice_codes = full.encode(audio)
    assert codes[0, 0].tolist() == numbers["out/codec_encode_local_tokens"].tolist()
    assert voice_codes[0].tolist() == numbers["out/codec_encode_global_tokens"].tolist()


def test_a_codec_without_its_encoder_says_so(codec):
    with pytest.raises(ValueError, match="with_encoder"):
        codec.encode(torch.zeros(1, 600))


def test_parameters_and_keys_are_the_published_ones():
    with torch.device("meta"):
        codec = TiCodec(TiCodecConfig(with_encoder=True))
    listed = json.loads((FOLDER / "keys_codec.json").read_text())
    tensors = {
        f"{entry}.{key}": torch.ones(value["shape"], dtype=getattr(torch, value["dtype"]), device="meta")
        for entry, part in listed["keys"].items()
        for key, value in part.items()
    }
    plain = fuse_weight_norm(tensors)
    names = rename(plain, RENAMES, UNUSED)
    fill(codec, {ours: plain[theirs] for theirs, ours in names.items()}, "keys_codec.json", assign=True)
    unused = sum(value.numel() for key, value in plain.items() if key not in names)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in codec.named_children()}
    assert counts["generator"] == listed["summary"]["generator"]["params_after_weight_norm_removal"] == 15_369_857
    assert counts["quantizer"] == listed["summary"]["quantizer"]["params_excluding_buffers"] == 655_360
    assert counts["encoder"] + unused == listed["summary"]["encoder"]["params_after_weight_norm_removal"] == 47_332_032
