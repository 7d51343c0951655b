"""Freeze-Omni's `small` sizes on this CPU, with SmolLM2-135M and random weights: what each step of a live session takes.

Run: pytest tests/bench/test_reference_speed.py --benchmark-only -m "" --benchmark-columns=median,iqr
Needs the asset smollm2-135m-gguf (fobench assets pull).
"""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from statistics import median

import pytest

from fobench.api import registry
from fobench.storage.run_folder import RunFolder

torch = pytest.importorskip("torch")

from reference_model.checkpoint.loading import untrained
from reference_model.inference.conversation import UserTurnState
from reference_model.inference.engine import InferenceEngine
from reference_model.inference.llm_context import Role
from reference_model.inference.reply import GeneratedReply
from reference_model.speech_output.segmenter import Segment, Segmentation, Segmenter

BASELINE = Path(__file__).parents[2] / "reports" / "spoken-qa-cascade-smollm2-135m"

SPEECH_S = 2.0  # of a question before the measured chunk
FRAMES = 16  # of features in a chunk of 160 ms


@pytest.fixture(scope="module")
def live():
    model = untrained("small").eval()
    return InferenceEngine(
        model, registry.create("backbones", "smollm2-135m", {"device": "cpu"}), model.config.settings, None
    )


class Listening:
    """A user turn on its way into the LLM."""

    def __init__(self, live, seconds=SPEECH_S):
        self.live, self.context = live, live.opening()
        self.hearing = UserTurnState.begin(live.model, [], None)
        for _ in range(int(seconds / 0.16)):
            self.step()

    @torch.no_grad()
    def step(self):
        """One chunk of 160 ms: encoder, adapter, LLM, state head."""
        self.hearing.waiting.append(torch.randn(1, FRAMES, 80))
        self.hearing.listen(self.live)
        return self.live.model.state_head.probabilities(self.hearing.enter(self.context, self.live))


def test_listen_step(benchmark, live):
    """160 ms of speech; the issue's bound is 60 ms."""
    listening = Listening(live)
    benchmark.pedantic(listening.step, rounds=40, warmup_rounds=5)
    benchmark.extra_info["real_time_factor"] = benchmark.stats.stats.median / 0.16


@pytest.mark.parametrize("minutes", [0, 10])
def test_encoder_step_after(benchmark, live, minutes):
    """Encoder and adapter alone, at once and ten minutes into a stream: the same."""
    encoder, adapter = live.model.encoder.begin(1), live.model.adapter.begin(1)
    with torch.no_grad():
        for _ in range(minutes * 375):
            _, encoder, adapter = live.hear(torch.randn(1, FRAMES, 80), encoder, adapter)
        benchmark.pedantic(lambda: live.hear(torch.randn(1, FRAMES, 80), encoder, adapter), rounds=60, warmup_rounds=5)


@torch.no_grad()
def first_packet(live, tokens):
    """From the decision to the first sound: reply prefill, `tokens` tokens of text, speech prefill, first packet."""
    context = Listening(live).context

    def work():
        thinking = context.fork()
        reply: GeneratedReply = live.reply(0, 0)
        hidden, logits = thinking.open(Role.REPLY, thinking.embed(()))
        for _ in range(tokens):
            token = int(logits[0, -1].argmax())
            reply.add(token, hidden[0, -1])
            hidden, logits = thinking.extend(thinking.embed([token]))
        segment = Segment("The capital of France", range(tokens))
        speech = live.speech(reply, segment)
        return speech.packet(live.settings.packets.first)

    return work


@pytest.mark.parametrize("tokens", [5, 10])
def test_decision_to_first_packet(benchmark, live, tokens):
    """The issue's bound is 600 ms."""
    audio = benchmark.pedantic(torch.no_grad()(first_packet(live, tokens)), rounds=10, warmup_rounds=2)
    benchmark.extra_info["samples"] = len(audio)


@pytest.mark.parametrize("after", [None, 10, 6])
def test_tokens_before_the_first_segment(benchmark, after):
    """How long the committed baseline's 240 replies keep the speech decoder waiting, by the option `first_after`."""
    replies = [_pieces(record) for record, _ in RunFolder(BASELINE).records()]
    rules = Segmentation(first_after=after)
    firsts = benchmark(lambda: [_first_segment(reply, rules) for reply in replies if reply])
    benchmark.extra_info["replies"] = len(firsts)
    benchmark.extra_info["tokens_median_max"] = (median(firsts), max(firsts))


def _first_segment(pieces, rules):
    """Tokens of a reply's first segment."""
    segmenter = Segmenter(rules)
    given = (segment for piece in pieces for segment in segmenter.push(piece))
    return len((next(given, None) or next(iter(segmenter.finish()))).tokens)


def _pieces(trace):
    return [e["data"]["text"] for e in trace["events"] if e["kind"] == "token" and e["data"]["reply"] == 0]


def test_decode_step(benchmark, live):
    """One token of the reply, with its hidden state."""
    context = Listening(live).context
    with torch.no_grad():
        context.open(Role.REPLY, context.embed(()))
        benchmark.pedantic(lambda: context.extend(context.embed([500])), rounds=60, warmup_rounds=5)


def test_memory_a_token_is_constant(live):
    """Python's allocations a generated token, early and late in a reply: no copies that grow."""
    context = Listening(live).context
    peaks = []
    with torch.no_grad():
        context.open(Role.REPLY, context.embed(()))
        tracemalloc.start()
        for _ in range(120):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            context.extend(context.embed([500]))
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
        tracemalloc.stop()
    early, late = sorted(peaks[5:35])[15], sorted(peaks[-30:])[15]
    assert late < 1.5 * early
