"""Freeze-Omni's `small` sizes on this CPU, with SmolLM2-135M: what each step of a live session takes.

With random weights around the LLM, with the shipped ones for speech output and the second pass. OMP_NUM_THREADS decides the threads.
Run: pytest tests/bench/test_reference_speed.py --benchmark-only -m "" --benchmark-columns=min,median,iqr
Needs the assets smollm2-135m-gguf, whisper-tiny-en and a Piper voice (fobench assets pull).
"""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from statistics import median

import pytest

from fobench.api import registry
from fobench.audio import resample
from fobench.storage.run_folder import RunFolder

torch = pytest.importorskip("torch")

from reference_model.checkpoint import loading
from reference_model.checkpoint.loading import untrained
from reference_model.inference.conversation import UserTurnState
from reference_model.inference.engine import InferenceEngine
from reference_model.inference.llm_context import Role
from reference_model.inference.reply import GeneratedReply
from reference_model.speech_output.packets import SegmentSynthesizer
from reference_model.speech_output.sampling import generator
from reference_model.speech_output.segmenter import Segment, Segmentation, Segmenter

BASELINE = Path(__file__).parents[2] / "reports" / "spoken-qa-cascade-smollm2-135m"

SPEECH_S = 2.0  # of a question before the measured chunk
FRAMES = 16  # of features in a chunk of 160 ms
SHIPPED = Path(__file__).parents[2] / "reference_model" / "shipped" / "any"
QUESTION = "Which of the planets of our solar system has the largest number of moons, and how many of them have a name?"


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
    """160 ms of speech; the limit is 60 ms."""
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
            reply.push(token, hidden[0, -1])
            hidden, logits = thinking.extend(thinking.embed([token]))
        segment = Segment("The capital of France", range(tokens))
        speech = live.speech(reply, segment)
        return speech.packet(live.settings.packets.first)

    return work


@pytest.mark.parametrize("tokens", [5, 10])
def test_decision_to_first_packet(benchmark, live, tokens):
    """From the decision to the first packet; the limit is 600 ms."""
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


# ---- speech output, with the shipped weights ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped():
    return loading.load(SHIPPED, device="cpu")


def prefilled(decoder, rows=60):
    """A segment of `rows` text rows, that does not end."""
    state = decoder.prefill(torch.randn(1, rows, decoder.config.size))
    state.end, state.pace = 1000, state.pace[:1].expand(1000, -1)
    return state


def codes_of(shipped, frames):
    config = shipped.codec.config
    return torch.randint(config.cardinality, (1, config.codebooks, frames))


def test_speech_prefill(benchmark, shipped):
    """The text of a first segment, 60 rows: about ten words."""
    rows = torch.randn(1, 60, shipped.decoder.config.size)
    benchmark.pedantic(lambda: shipped.decoder.prefill(rows), rounds=30, warmup_rounds=3)


def test_decoder_frame(benchmark, shipped):
    """One codec frame, 23 ms of speech."""
    state, draws = prefilled(shipped.decoder), generator(0)
    benchmark.pedantic(
        lambda: shipped.decoder.step(state, shipped.config.settings.speech, draws), rounds=200, warmup_rounds=10
    )


@pytest.mark.parametrize("frames", [8, 20, 40])
@pytest.mark.parametrize("packet", ["first", "later"])
@torch.inference_mode()
def test_codec_packet(benchmark, shipped, packet, frames):
    """The audio of a packet; the first one includes the codec's lookahead."""
    codec, state = shipped.codec, None
    if packet == "later":
        _, state = codec.decode_step(codes_of(shipped, 30))
    codes = codes_of(shipped, frames + (0 if state else codec.lookahead))
    audio, _ = benchmark.pedantic(lambda: codec.decode_step(codes, state), rounds=20, warmup_rounds=2)
    benchmark.extra_info["real_time_factor"] = benchmark.stats.stats.median * codec.sample_rate_hz / audio.shape[1]


@pytest.mark.parametrize("frames", [8, 20])
def test_first_packet_of_speech(benchmark, shipped, frames):
    """Codes and audio of the first packet, after the prefill; the goal is 70 ms for 8 frames at one thread."""
    speech = shipped.config.settings.speech

    def begin():
        state = prefilled(shipped.decoder)
        return (
            SegmentSynthesizer(state, lambda call: shipped.decoder.step(*call), shipped.codec, speech, generator(0)),
        ), {}

    benchmark.pedantic(torch.no_grad()(lambda one: one.packet(frames)), setup=begin, rounds=12, warmup_rounds=2)


def test_synthesis(benchmark, shipped):
    """A packet of 40 codec frames, 0.93 s, in the middle of a segment; the goal is a real-time factor of 0.25."""
    codec, speech, state = shipped.codec, shipped.config.settings.speech, prefilled(shipped.decoder)
    synthesizer = SegmentSynthesizer(state, lambda call: shipped.decoder.step(*call), codec, speech, generator(0))
    synthesizer.packet(20)
    benchmark.pedantic(torch.no_grad()(lambda: synthesizer.packet(40)), rounds=12, warmup_rounds=1)
    benchmark.extra_info["real_time_factor"] = benchmark.stats.stats.median / (
        40 * codec.config.hop / codec.sample_rate_hz
    )


# ---- the second pass, with the shipped weights -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def question(shipped):
    """Features [1, N, mels] of a spoken question."""
    spoken = resample(registry.create("voices", "piper").speak(QUESTION, 0), shipped.encoder.front.rate_hz)
    return shipped.encoder.front.offline(torch.as_tensor(spoken.samples)[None])


@torch.no_grad()
def first_pass(shipped, features, reader):
    """The adapter's output of all chunks, which `reader` reads."""
    encoder, adapter, outputs = shipped.encoder.begin(1), shipped.adapter.begin(1), []
    for chunk in features.split(FRAMES, 1):
        output, encoder, adapter = shipped.hear(chunk, encoder, adapter)
        reader.push(output)
        outputs.append(output)
    return torch.cat(outputs, 1)


@pytest.mark.parametrize("seconds", [2, 3, 4])
@torch.no_grad()
def test_second_pass(benchmark, shipped, question, seconds):
    """Recognition with full context of a turn, and joint rescoring; the goal is 60 ms for 3 s at one thread."""
    features = question[:, : int(seconds / 0.16) * FRAMES]
    reader = shipped.adapter.reader()
    outputs = first_pass(shipped, features, reader)
    benchmark.pedantic(lambda: shipped.reread(features, outputs, reader.beam), rounds=12, warmup_rounds=2)


@torch.no_grad()
def test_ctc_beam_search(benchmark, shipped, question):
    """The first pass's beam search over 3 s of speech."""
    outputs = first_pass(shipped, question[:, : 18 * FRAMES], shipped.adapter.reader())

    def search():
        reader = shipped.adapter.reader()
        for output in outputs.split(4, 1):
            reader.push(output)
        return reader

    benchmark.pedantic(search, rounds=20, warmup_rounds=2)


# ---- text ------------------------------------------------------------------------------------------------------------


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
