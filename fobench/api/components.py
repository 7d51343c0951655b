"""Protocols of the components that a plugin implements: systems, backbones, codecs, voices, suites, metrics, reporters."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from fobench.api.types import AudioChunk, Event, Message, Samples, Score, Transcript

if TYPE_CHECKING:
    from pathlib import Path

    from fobench.api.results import Results
    from fobench.api.scenario import Scenario
    from fobench.api.trace import Trace


class Session(Protocol):
    """One conversation. It owns all of its state; its only inputs are audio and the playback position.

    `push` takes the next chunk in when it is called (it is not a generator function) and returns an iterator over the work
    that is now possible: each `next()` does one unit of work (a token, a clause of speech) and returns its event. The
    runner may drop the iterator when new audio has arrived, even before the first step; the session must then continue its
    pending work at the next `push`. A system does not process audio during a unit of work.
    """

    def push(self, chunk: AudioChunk) -> Iterator[Event]: ...

    def heard(self, reply: int, samples: int) -> None:
        """Receives the playback position: `samples` of reply number `reply` were played so far. Called before a `push`."""

    def finish(self) -> Iterator[Event]:
        """The remaining work at the end of the conversation, as by `push`."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class System(Protocol):
    """A live speech-to-speech system. `open` begins a conversation, deterministic for equal seeds."""

    input_rate_hz: int
    output_rate_hz: int
    chunk: int  # samples at input_rate_hz that `push` takes

    def open(self, seed: int) -> Session: ...


@runtime_checkable
class TextRoute(Protocol):
    """A system that also answers by text, with the same frozen LLM, prompt and decoding: routes t2t and a2t2t."""

    def answer(self, history: Sequence[Message], seed: int) -> str:
        """The text of the reply to `history`, whose last message is the user's question."""


@runtime_checkable
class Cacheable(Protocol):
    """A system that can return cached results under a replayed latency profile, where nothing is timed."""

    cache_results: bool


class Recognizer(Protocol):
    """A speech recognizer (ASR). `transcribe` takes mono audio at any rate and returns the text, with word times if known."""

    def transcribe(self, audio: AudioChunk) -> Transcript: ...


class Voice(Protocol):
    """A TTS voice. `speakers` are the names that `speak` accepts; the first is the default."""

    speakers: tuple[str, ...]
    rate_hz: int

    def speak(self, text: str, seed: int, speaker: str | None = None) -> AudioChunk: ...


class Codec(Protocol):
    """A streaming codec: `encode` maps samples [T] to codes [K, F], `decode` codes to samples, both with explicit state.

    `state=None` begins a stream; the returned state goes into the next call; `last` ends the stream. Streaming output equals
    offline output.
    """

    sample_rate_hz: int
    frame_rate_hz: float
    num_codebooks: int  # K
    cardinality: int

    def encode(self, audio: Samples, state: Any = None, last: bool = False) -> tuple[npt.NDArray[np.int64], Any]: ...

    def decode(self, codes: npt.NDArray[np.int64], state: Any = None, last: bool = False) -> tuple[Samples, Any]: ...


class Detokenizer(Protocol):
    """Incremental detokenizer: token ids in, text out."""

    def push(self, token: int) -> str:
        """The text that this token completes; empty while a character is incomplete."""

    def flush(self) -> str:
        """The remaining text after the last token."""


class Backbone(Protocol):
    """A frozen text LLM. Tensors are of the plugin's library (torch here); shapes in brackets.

    `state` is the KV cache: `step` returns the new state, `fork` returns an independent copy, `crop` truncates it to its
    first `length` positions. Parameters are frozen: `parameter_hash()` is the same before and after any use.
    """

    name: str
    hidden_size: int  # D
    vocab_size: int  # V
    context: int  # positions that a state can hold
    end_ids: frozenset[int]  # tokens that end a reply

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text, without special tokens."""

    def detokenizer(self) -> Detokenizer:
        """A detokenizer for the tokens of one reply."""

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the conversation in the model's own chat template, ending where the reply begins."""

    def embed(self, ids: Any) -> Any:
        """[B, T] ids -> [B, T, D] input embeddings."""

    def step(self, x: Any, state: Any = None, *, logits: int | None = None) -> tuple[Any, Any, Any]:
        """[B, T, D] inputs -> (final-norm hidden [B, T, D], logits [B, T, V], state).

        `logits`: only of the last N positions; the hidden states then at least of these, so that the last is at -1.
        """

    def fork(self, state: Any) -> Any: ...

    def crop(self, state: Any, length: int) -> Any: ...

    def stream(
        self, messages: Sequence[Message], *, max_tokens: int, seed: int, temperature: float = 0.0
    ) -> Iterator[str]:
        """The reply, one token's text at a time; the first step includes the prefill. Greedy at temperature 0.

        A backbone may have an integer `no_repeat`: so many tokens in a row occur once at most in a reply. Systems that decode
        by `step` keep to it, too.
        """

    def parameter_hash(self) -> str: ...


class Suite(Protocol):
    """A test suite. `scenarios` is deterministic for a seed, in an order whose every prefix is a balanced subset."""

    def scenarios(self, seed: int) -> Iterator[Scenario]: ...


@runtime_checkable
class NotedSuite(Protocol):
    """A suite with notes: sentences that a reader of its results must know, on recordings that it left out for example."""

    notes: Sequence[str]


class Metric(Protocol):
    """A metric: a score for each trace (a pure function of trace and scenario), and the aggregate over a run."""

    name: str
    version: int
    unit: str
    better: Literal["higher", "lower", "none"]

    def score(self, trace: Trace, scenario: Scenario) -> Score: ...

    def aggregate(self, scores: Sequence[Score]) -> list[Score]: ...


@runtime_checkable
class AudioMetric(Protocol):
    """A metric that runs a model on audio: `measure` is called during the run, before scoring."""

    def measure(self, audio: AudioChunk) -> dict[str, float]:
        """{name: value} of a spoken reply (any rate), stored in `trace.measured[metric]`; empty if it cannot be measured."""


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What a model answered to a request; `problem`: why it did not."""

    text: str
    problem: str = ""


@runtime_checkable
class ModelMetric(Protocol):
    """A metric that asks a model about the replies when the user names it (`fobench score --metric`).

    The answers stay in the run folder: a later scoring recalls them and asks nothing. `score` and `aggregate` depend only on
    the traces and what was recalled. `judge`: the model and whatever else an answer depends on.
    """

    judge: Mapping[str, str]

    def ask(
        self, traces: Sequence[Trace], known: Mapping[str, ModelAnswer]
    ) -> Generator[tuple[str, ModelAnswer], None, None]:
        """The answers, by key, to all requests that are not `known` or had a problem. Raises `FobenchError` before the first."""

    def recall(self, judge: Mapping[str, str], answers: Mapping[str, ModelAnswer]) -> None:
        """Takes the answers of `judge`, of this scoring or an earlier one."""


class Reporter(Protocol):
    """A reporter of one run; `write` returns the file it wrote in `folder`, or None if it only prints."""

    def write(self, results: Results, folder: Path) -> Path | None: ...


@runtime_checkable
class MultiRunReporter(Protocol):
    """A reporter that also writes a report of several runs; returns the file it wrote in `folder`, or None."""

    def write_several(self, runs: Sequence[Results], folder: Path) -> Path | None: ...
