"""The speech decoder: the published numbers, and equality of its modes."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from functools import cache

import pytest
import torch

from fobench.errors import FobenchError
from reference_model.checkpoint.published.decoder_keys import RENAMES, UNUSED
from reference_model.checkpoint.published.key_mapping import rename
from reference_model.speech_output.llama_layers import frequencies
from reference_model.speech_output.sampling import Sampling
from reference_model.speech_output.speech_decoder import EOS, SpeechDecoder, SpeechDecoderConfig
from tests.support.golden_data import FOLDER, golden, weights
from tests.support.published_weights import formula_weights

G = golden("decoder")
CONFIG = SpeechDecoderConfig(32, 4, 64, layers=2, pre_layers=1, codes=60, allow_special=True)
GREEDY = Sampling(top_k=1)
CLOSE = {"atol": 2e-5, "rtol": 0}


def loaded(config, tensors):
    decoder = SpeechDecoder(config)
    decoder.load_state_dict({name: tensors[key] for key, name in rename(tensors, RENAMES, UNUSED).items()}, strict=True)
    return decoder.eval()


@cache
def published(**changes):
    return loaded(replace(CONFIG, **changes), weights("decoder", ""))


def prefilled(decoder, prefix=True):
    return decoder.prefill(G["in/hidden"], G["in/prefix"] if prefix else None)


@torch.no_grad()
def say(decoder, state, steps, sampling=GREEDY):
    """Tokens, and logits before any penalty."""
    tokens, logits = [], []
    for _ in range(steps):
        logits.append(decoder.logits([state.fork()])[0, 0])
        frame = decoder.step(state, sampling, torch.Generator())
        if frame is None:
            break
        tokens.append(int(frame[0]))
    return tokens, torch.stack(logits)


@torch.no_grad()
def test_pre_network_prefix_and_prefill_are_the_published_ones():
    decoder = published()
    beginning = decoder._start_rows(G["in/hidden"])
    assert torch.allclose(beginning[:, 1:], G["out/pre_nn"], **CLOSE)
    assert torch.allclose(beginning, G["out/prefill_input"], **CLOSE)
    past = decoder.prefix(G["in/prefix"], decoder._rotary(14))[1]
    hidden, pairs = decoder.layers(beginning, decoder._rotary(19), past)
    assert torch.allclose(hidden, G["out/prefill_hidden_unnormed"], **CLOSE)
    for layer in range(2):
        for side, name in enumerate("kv"):
            assert torch.allclose(pairs[layer][side][:, :, :14], G[f"out/prefix_{name}_layer{layer}"], **CLOSE)
            assert torch.allclose(pairs[layer][side][:, :, 14:], G[f"out/prefill_{name}_layer{layer}"], **CLOSE)


def test_greedy_tokens_and_logits_are_the_published_ones():
    tokens, logits = say(published(), prefilled(published()), 120)
    assert tokens == G["out/greedy_tokens"].tolist()
    assert torch.allclose(logits[:16], G["out/greedy_logits_first16"], **CLOSE)
    assert torch.allclose(logits[-1], G["out/greedy_logits_last"], **CLOSE)


def test_it_also_speaks_without_a_prefix():
    tokens, logits = say(published(), prefilled(published(), prefix=False), 40)
    assert tokens == G["out/noprefix_tokens"].tolist()
    assert torch.allclose(logits[:4], G["out/noprefix_logits_first4"], **CLOSE)


def test_the_published_penalty():
    sampling = Sampling(top_k=1, penalty=1.1, window=20, per_occurrence=True)
    tokens, logits = say(published(), prefilled(published()), 60, sampling)
    assert tokens == G["out/penalty20_1.1_tokens"].tolist()
    assert torch.allclose(logits[:16], G["out/penalty20_1.1_raw_logits_first16"], **CLOSE)


def test_the_end_token_ends_the_segment():
    decoder = loaded(CONFIG, weights("decoder", ""))
    with torch.no_grad():
        decoder.out.bias[decoder.special(EOS)] += G["in/eos_bias_delta"][0]
    tokens, logits = say(decoder, prefilled(decoder), 100)
    assert tokens == G["out/eos_tokens"].tolist()
    assert len(logits) == int(G["out/eos_num_steps"])
    assert torch.allclose(logits[-1], G["out/eos_logits_last"], **CLOSE)


def test_rotary_frequencies_rounded_to_bfloat16():
    decoder = published(rotary_bf16=True)
    cpu = torch.device("cpu")
    assert torch.equal(frequencies(8, 10_000.0, True, cpu), G["out/rope_inv_freq_after_bf16_cast"])
    assert torch.allclose(frequencies(8, 10_000.0, False, cpu), G["out/rope_inv_freq_f32"])
    tokens, logits = say(decoder, prefilled(decoder), 120)
    assert tokens == G["out/ropebf16_tokens"].tolist()
    assert torch.allclose(logits[:16], G["out/ropebf16_logits_first16"], **CLOSE)


@torch.no_grad()
def test_teacher_forcing_is_the_published_one():
    y, lengths = G["in/train_y"].clamp(min=0)[:, None], G["in/train_y_lens"]
    logits, loss = published()(
        G["in/train_x"],
        G["in/train_x_lens"],
        y,
        lengths,
        G["in/train_x_prefix"],
        G["in/train_x_prefix_lens"],
        compact=False,
    )
    for item, length in enumerate(lengths.tolist()):  # rows of padding differ, and nothing is taken from them
        assert torch.allclose(logits[item, 0, : length + 1], G["out/train_logits"][item, : length + 1], **CLOSE)
    assert torch.allclose(loss, G["out/train_loss"][0], atol=1e-3, rtol=0)


@cache
@torch.no_grad()
def full_size():
    decoder = loaded(SpeechDecoderConfig(allow_special=True), formula_weights("decoder."))
    full = golden("full_formula")
    text, prefix = decoder.text_rows(full["in/text_embeddings"]), decoder.text_rows(full["in/llm_hidden"])
    return decoder._start_rows(text)[0, 1:], *say(decoder, decoder.prefill(text, prefix), 16)


@pytest.mark.slow
def test_at_the_published_size():
    pre, tokens, logits = full_size()
    full = golden("full_formula")
    assert torch.allclose(pre, full["out/decoder_pre_nn"], atol=5e-5, rtol=0)
    assert tokens == full["out/decoder_greedy_tokens"].tolist()
    assert torch.allclose(logits, full["out/decoder_greedy_logits"], atol=5e-5, rtol=0)


def test_the_speech_decoder_has_the_published_sizes_and_keys():
    """164.7 M parameters; every key of the file is one of ours, with its shape, and no key of ours is left without."""
    with torch.device("meta"):
        decoder = SpeechDecoder(SpeechDecoderConfig())
    assert sum(p.numel() for p in decoder.parameters()) == 164_718_980
    keys = json.loads((FOLDER / "keys_decoder.json").read_text())["keys"]
    theirs = {name: keys[key]["shape"] for key, name in rename(keys, RENAMES, UNUSED).items()}
    assert theirs == {name: list(value.shape) for name, value in decoder.state_dict().items()}


# ---- our own ---------------------------------------------------------------------------------------------------------


def ours(codebooks, seed=0):
    torch.manual_seed(seed)
    return SpeechDecoder(SpeechDecoderConfig(32, 4, 64, layers=2, pre_layers=1, codebooks=codebooks, codes=20)).eval()


def rows(count, seed=0):
    return torch.randn(1, count, 32, generator=torch.Generator().manual_seed(seed))


def padded(parts):
    size = max(part.shape[1] for part in parts)
    return torch.cat([torch.nn.functional.pad(part, (0, 0, 0, size - part.shape[1])) for part in parts])


@pytest.mark.parametrize("codebooks", [1, 3])
@torch.no_grad()
def test_teacher_forcing_gives_the_logits_of_saying_it(codebooks):
    """Batched and padded, with compact positions: each item as if said alone, one step at a time."""
    decoder, texts, prefixes, lengths = ours(codebooks), [4, 6], [5, 3], [5, 3]
    text, prefix = [rows(n, n) for n in texts], [rows(n, 10 + n) for n in prefixes]
    codes = torch.randint(20, (2, codebooks, 5), generator=torch.Generator().manual_seed(0))
    sizes = [torch.tensor(n) for n in (texts, lengths, prefixes)]
    logits, _ = decoder(padded(text), sizes[0], codes, sizes[1], padded(prefix), sizes[2])
    for item in range(2):
        state = decoder.prefill(text[item], prefix[item])
        inputs, _ = decoder.delayed(codes[item : item + 1, :, : lengths[item]], sizes[1][item : item + 1])
        for step in range(lengths[item] + 1):
            state.last = inputs[0, :, step].tolist()
            assert torch.allclose(decoder.logits([state])[0], logits[item, :, step], atol=1e-5)


@pytest.mark.parametrize("codebooks", [1, 2, 4])
def test_only_codes_are_sampled_and_the_segment_ends(codebooks):
    decoder, state = ours(codebooks), ours(codebooks).prefill(rows(4))
    with torch.no_grad():
        decoder.out.bias[decoder.special(EOS)] += 1.0
    generator, frames = torch.Generator().manual_seed(1), []
    while (frame := decoder.step(state, Sampling(), generator)) is not None:
        frames.append(frame)
    assert len(frames) == state.end < 1000
    assert all(0 <= code < 20 for frame in frames for code in frame.tolist())
    assert decoder.step(state, Sampling(), generator) is None


def test_a_segment_that_never_ends_is_ended():
    decoder = SpeechDecoder(replace(ours(2).config, max_frames=7)).eval()
    with torch.no_grad():
        decoder.out.bias[decoder.special(EOS)] = -1e9
    state, frames = decoder.prefill(rows(4)), 0
    while decoder.step(state, Sampling(), torch.Generator()) is not None:
        frames += 1
    assert frames == 7


@pytest.mark.parametrize("codebooks", [1, 3])
@torch.no_grad()
def test_batched_segments_equal_single_ones(codebooks):
    decoder, draws = ours(codebooks), Sampling(top_k=4)

    def fresh():
        states = [decoder.prefill(rows(4, 1)), decoder.prefill(rows(7, 2), rows(3, 3))]
        return [(state, draws, torch.Generator().manual_seed(i)) for i, state in enumerate(states)]

    alone, together = fresh(), fresh()
    expected = [[decoder.step(*call) for _ in range(12)] for call in alone]
    said = [decoder.step_many(together) for _ in range(12)]
    for i in range(2):
        for step in range(12):
            one, other = expected[i][step], said[step][i]
            assert (one is None and other is None) or torch.equal(one, other)


@pytest.mark.parametrize("prefix", [False, True])
def test_float16_weights_give_the_codes_of_float64(prefix):
    """Codes over 60 steps, and logits, by the packed products and by those of the modules in float64."""
    packed = ours(2)
    with torch.no_grad():
        packed.out.bias[packed.special(EOS)] = -1e4
        for parameter in packed.parameters():
            parameter.copy_(parameter.half())
    exact = copy.deepcopy(packed).double()
    said = []
    for decoder, dtype in ((packed, torch.float32), (exact, torch.float64)):
        state = decoder.prefill(rows(5).to(dtype), rows(3, 1).to(dtype) if prefix else None)
        draws = torch.Generator().manual_seed(0)
        frames = [decoder.step(state, Sampling(top_k=2), draws).tolist() for _ in range(60)]
        said.append((frames, decoder.logits([state]).double()))
    assert said[0][0] == said[1][0]
    torch.testing.assert_close(said[0][1], said[1][1], atol=1e-5, rtol=1e-6)


@torch.no_grad()
def test_a_fork_goes_its_own_way():
    decoder = ours(2)
    state = decoder.prefill(rows(4))
    for _ in range(5):
        decoder.step(state, GREEDY, torch.Generator())
    forked = state.fork()
    one = [decoder.step(state, GREEDY, torch.Generator()).tolist() for _ in range(200)]
    other = [decoder.step(forked, GREEDY, torch.Generator()).tolist() for _ in range(200)]
    assert one == other


def test_a_size_that_does_not_divide_the_llms_is_refused():
    with pytest.raises(FobenchError, match="size 32 must divide the LLM's hidden size 100"):
        ours(1).text_rows(torch.zeros(2, 100))


@pytest.mark.slow
def test_compiled_steps_say_the_same():
    decoder = loaded(CONFIG, weights("decoder", ""))
    decoder.layers.compile_steps()
    tokens, logits = say(decoder, prefilled(decoder), 120)
    assert tokens == G["out/greedy_tokens"].tolist()
    assert torch.allclose(logits[:16], G["out/greedy_logits_first16"], **CLOSE)


@pytest.mark.gpu
def test_on_a_gpu_with_cuda_graphs_it_says_the_same():
    decoder = loaded(CONFIG, weights("decoder", "")).to("cuda")
    decoder.layers.compile_steps("reduce-overhead")
    with torch.no_grad():
        state = decoder.prefill(G["in/hidden"].to("cuda"), G["in/prefix"].to("cuda"))
    tokens, _ = say(decoder, state, 120)
    assert tokens == G["out/greedy_tokens"].tolist()


def test_letters_follow_the_rows_of_their_token():
    torch.manual_seed(0)
    decoder = SpeechDecoder(
        SpeechDecoderConfig(size=16, heads=2, ffn=32, layers=1, pre_layers=1, codes=8, characters=100)
    )
    vectors, pieces = torch.randn(3, 32), ["ab", "", "é"]
    rows = decoder.text_rows(vectors, pieces)[0]
    a, b, other = (decoder.letters.weight[i] for i in (97, 98, 99))
    halves = vectors.reshape(6, 16)
    expected = torch.stack([halves[0], halves[1], a, b, halves[2], halves[3], halves[4], halves[5], other])
    torch.testing.assert_close(rows, expected)
    torch.testing.assert_close(decoder.text_rows(vectors)[0], halves)


def test_a_decoder_without_hidden_states_has_no_prefix_network():
    sizes = {"size": 16, "heads": 2, "ffn": 32, "layers": 1, "pre_layers": 1, "codes": 8}
    plain = SpeechDecoder(SpeechDecoderConfig(**sizes, thoughts=False))
    assert not any(name.startswith("prefix.") for name, _ in plain.named_parameters())
    assert plain.prefill(torch.randn(1, 4, 16)).position == 5
