"""The parts of the cascade on this CPU, by default with SmolLM2-135M, Whisper tiny.en and Piper.

Run: pytest tests/bench/test_cascade_speed.py --benchmark-only -m "" --benchmark-columns=median,iqr
Needs the assets smollm2-135m-gguf, whisper-tiny.en-ct2 and piper-joe-medium (fobench assets pull).
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fobench.api import registry
from fobench.api.types import NS_PER_S, AudioChunk
from fobench_plugins.systems.cascade.clause_splitter import ClauseSplitter
from fobench_plugins.systems.cascade.system import SYSTEM_PROMPT

pytest.importorskip("faster_whisper")
pytest.importorskip("piper")
torch = pytest.importorskip("torch")

QUESTION = "Which city is the capital of France, and which river flows through it on its way to the sea?"
CLAUSES = {
    "short": "Yes, it is.",
    "clause": "Paris is the capital of France,",
    "sentence": "Paris is the capital of France and serves as the seat of the government and of the parliament.",
}


@pytest.fixture(scope="module")
def voice():
    return registry.create("voices", "piper")


@pytest.fixture(scope="module")
def question(voice):
    return voice.speak(QUESTION + " " + QUESTION, 0)


@pytest.fixture(scope="module")
def backbone():
    return registry.create("backbones", "smollm2-135m", {"device": "cpu"})


@pytest.mark.parametrize("window_s", [12, 30])
@pytest.mark.parametrize("seconds", [2, 4, 8])
def test_recognizer(benchmark, question, seconds, window_s):
    """A turn of so many seconds, in the default window and in Whisper's whole one."""
    recognizer = registry.create("recognizers", "faster-whisper", {"window_s": window_s})
    turn = AudioChunk(question.samples[: seconds * question.rate_hz], question.rate_hz)
    text = benchmark.pedantic(lambda: recognizer.transcribe(turn).text, rounds=10, warmup_rounds=2)
    assert "capital" in text.lower()
    benchmark.extra_info["real_time_factor"] = benchmark.stats.stats.median / seconds


def test_partial_hypothesis(benchmark, question):
    """The words over a reply, after 0.8 s."""
    recognizer = registry.create("recognizers", "faster-whisper")
    turn = AudioChunk(question.samples[: 8 * question.rate_hz // 10], question.rate_hz)
    assert benchmark.pedantic(lambda: recognizer.transcribe_partial(turn).text, rounds=10, warmup_rounds=2)


@pytest.mark.parametrize("clause", CLAUSES)
def test_first_packet(benchmark, voice, clause):
    """From a clause to its first audio."""
    packet = benchmark.pedantic(lambda: next(voice.stream(CLAUSES[clause], 0)), rounds=10, warmup_rounds=2)
    benchmark.extra_info["packet_s"] = packet.duration_ns / NS_PER_S


@pytest.mark.parametrize("way", ["packets", "whole"])
@pytest.mark.parametrize("clause", CLAUSES)
def test_whole_clause(benchmark, voice, clause, way):
    """All audio of a clause, in packets and in one piece; it must be made faster than it is played."""

    def work():
        if way == "whole":
            return len(voice.speak(CLAUSES[clause], 0).samples)
        return sum(len(packet.samples) for packet in voice.stream(CLAUSES[clause], 0))

    samples = benchmark.pedantic(work, rounds=6, warmup_rounds=1)
    benchmark.extra_info["real_time_factor"] = benchmark.stats.stats.median * voice.rate_hz / samples


CALLS = itertools.count()


def _first_pieces(backbone, past, until_clause):
    """The tokens of a reply up to the first, or to the end of its first clause. `past`: the system prompt is known."""
    prompt = SYSTEM_PROMPT if past else f"{next(CALLS)}: {SYSTEM_PROMPT}"
    messages = [{"role": "system", "content": prompt}, {"role": "user", "content": QUESTION}]
    splitter, count = ClauseSplitter(), 0
    for piece in backbone.stream(messages, max_tokens=48, seed=0):
        count += 1
        if not until_clause or splitter.push(piece):
            break
    return count


@pytest.mark.parametrize("past", [False, True], ids=["fresh", "known-prompt"])
def test_first_token(benchmark, backbone, past):
    """From the transcript to the first token: the prefill, of the whole prompt or of the question."""
    benchmark.pedantic(lambda: _first_pieces(backbone, past, False), rounds=10, warmup_rounds=2)


def test_first_clause_of_text(benchmark, backbone):
    """From the transcript to the first clause for the voice."""
    tokens = benchmark.pedantic(lambda: _first_pieces(backbone, True, True), rounds=6, warmup_rounds=2)
    benchmark.extra_info["tokens"] = tokens


def test_activity_detector(benchmark):
    """A chunk of 32 ms of the user's audio."""
    system = registry.create("systems", "cascade")
    noise = np.random.default_rng(0).normal(0, 0.01, system.chunk).astype(np.float32)
    with system.open(0) as session:
        chunk = AudioChunk(noise, system.input_rate_hz, 0)
        benchmark.pedantic(lambda: list(session.push(chunk)), rounds=100, warmup_rounds=10)
