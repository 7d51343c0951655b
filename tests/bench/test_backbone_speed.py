"""Tokens a second of SmolLM2-135M on this CPU: the packed forward pass in each dtype, against transformers' own.

Run: pytest tests/bench/test_backbone_speed.py --benchmark-columns=median,iqr --benchmark-json=backbone.json
"""

from __future__ import annotations

import os

import pytest

from fobench.api import registry

torch = pytest.importorskip("torch")

CORES = os.cpu_count() or 1
QUESTION = [
    {"role": "system", "content": "You are a helpful voice assistant. Answer briefly."},
    {"role": "user", "content": "What is the capital of France, and what is it famous for?"},
]
TOKENS = 24  # a benchmarked round decodes so many
FORMS = [
    ("float32", "transformers"),
    ("bfloat16", "transformers"),
    *((d, "packed") for d in ("float32", "bfloat16", "mixed", "int8", "int4")),
]


@pytest.fixture(params=sorted({1, CORES}), ids=lambda n: f"{n} threads")
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def backbones():
    """{dtype: backbone}, each loaded once."""
    return {
        dtype: registry.create("backbones", "smollm2-135m", {"device": "cpu", "dtype": dtype}) for dtype in dict(FORMS)
    }


@pytest.fixture(params=FORMS, ids="-".join)
def backbone(request, backbones, monkeypatch):
    dtype, forward = request.param
    if forward == "transformers":
        monkeypatch.setattr(backbones[dtype], "packed", None)
    return backbones[dtype]


def test_prefill(benchmark, backbone, threads):
    """One whole prompt of about 40 tokens, with the logits of its end."""
    x = backbone.embed(torch.tensor([backbone.chat(QUESTION)]))
    benchmark.pedantic(lambda: backbone.step(x, logits=1), rounds=8, warmup_rounds=2)
    benchmark.extra_info["prompt_tokens"] = x.shape[1]


def test_decode(benchmark, backbone, threads):
    """`TOKENS` single steps after the prompt: tokens / s = TOKENS / time."""
    x = backbone.embed(torch.tensor([backbone.chat(QUESTION)]))

    def prompt():
        return (backbone.step(x, logits=1)[2],), {}

    def decode(state):
        for _ in range(TOKENS):
            _, logits, state = backbone.step(backbone.embed(torch.tensor([[28]])), state)
        return logits

    benchmark.pedantic(decode, setup=prompt, rounds=6, warmup_rounds=1)
    benchmark.extra_info["tokens_per_s"] = round(TOKENS / benchmark.stats["median"], 1)


def test_four_bits_are_faster_than_transformers(backbones, monkeypatch):
    """The reason for the packed form, with a wide margin: it was 2.4 times the speed on a quiet machine."""
    import time

    def seconds(backbone):
        times = []
        for _ in range(4):
            start = time.perf_counter()
            pieces = list(backbone.stream(QUESTION, max_tokens=TOKENS, seed=0))
            times.append((time.perf_counter() - start) / len(pieces))
        return min(times)

    if not torch.cpu._is_avx512_bf16_supported():
        pytest.skip("four bits are the choice for CPUs with AVX512-BF16")
    packed = seconds(backbones["int4"])
    monkeypatch.setattr(backbones["float32"], "packed", None)
    assert packed < 0.8 * seconds(backbones["float32"])
