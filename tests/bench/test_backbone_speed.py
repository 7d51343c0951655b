"""Tokens a second of SmolLM2-135M on this CPU, by each engine: prefill, decoding, several conversations, forks.

Run: pytest tests/bench/test_backbone_speed.py --benchmark-columns=median,iqr --benchmark-json=backbone.json
"""

from __future__ import annotations

import os
from functools import cache

import pytest

from fobench.api import registry

torch = pytest.importorskip("torch")

CORES = os.cpu_count() or 1
QUESTION = [
    {"role": "system", "content": "You are a helpful voice assistant. Answer briefly."},
    {"role": "user", "content": "What is the capital of France, and what is it famous for?"},
]
TOKENS = 24  # a benchmarked round decodes so many
FORMS = ("torch float32", "torch bfloat16", "llamacpp")
CONVERSATIONS = 4


@cache
def made(form, threads):
    engine, _, dtype = form.partition(" ")
    options = {"dtype": dtype} if dtype else {"engine": engine}
    return registry.create("backbones", "smollm2-135m", {"device": "cpu", "threads": str(threads), **options})


@pytest.fixture(params=sorted({1, CORES}), ids=lambda n: f"{n} threads")
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(params=FORMS)
def backbone(request, threads):
    found = made(request.param, threads)
    torch.set_num_threads(threads)  # loading has set it for all of torch
    return found


@pytest.fixture
def llama():
    return made("llamacpp", 1)


def prompt(backbone):
    return backbone.embed(torch.tensor([backbone.chat(QUESTION)]))


@pytest.mark.parametrize("length", [40, 200])
def test_prefill(benchmark, backbone, length):
    """A prompt of 40 or 200 tokens, with the logits of its end."""
    x = prompt(backbone).repeat(1, 6, 1)[:, :length]
    benchmark.pedantic(lambda: backbone.step(x, logits=1), rounds=6, warmup_rounds=1)


def test_decode(benchmark, backbone):
    """`TOKENS` single steps after the prompt: tokens / s = TOKENS / time."""
    x, token = prompt(backbone), backbone.embed(torch.tensor([[28]]))

    def state():
        return (backbone.step(x, logits=1)[2],), {}

    def decode(state):
        for _ in range(TOKENS):
            _, logits, state = backbone.step(token, state, logits=1)
        return logits

    benchmark.pedantic(decode, setup=state, rounds=6, warmup_rounds=1)
    benchmark.extra_info["tokens_per_s"] = round(TOKENS / benchmark.stats["median"], 1)


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "together"])
def test_several_conversations(benchmark, llama, together):
    """Steps of four conversations by llama.cpp, in calls of their own and in one: tokens / s of all."""
    x, token = prompt(llama), llama.embed(torch.tensor([[28]]))

    def states():
        return ([llama.step(x, logits=1)[2] for _ in range(CONVERSATIONS)],), {}

    def decode(states):
        for _ in range(TOKENS):
            if together:
                llama.step_many([token] * CONVERSATIONS, states, logits=[1] * CONVERSATIONS)
            else:
                [llama.step(token, state, logits=1) for state in states]

    benchmark.pedantic(decode, setup=states, rounds=4, warmup_rounds=1)
    benchmark.extra_info["tokens_per_s"] = round(CONVERSATIONS * TOKENS / benchmark.stats["median"], 1)


@pytest.mark.parametrize("length", [40, 300, 2000])
def test_fork(benchmark, llama, length):
    """A fork of a conversation by llama.cpp and its first step, beyond an ordinary step."""
    x = llama.embed(torch.arange(1000, 1000 + length)[None])
    _, _, state = llama.step(x, logits=0)
    token = x[:, :1]

    def forked():
        llama.step(token, llama.fork(state), logits=1)

    llama.step(token, llama.fork(state), logits=1)
    benchmark.pedantic(forked, rounds=10, warmup_rounds=2)
