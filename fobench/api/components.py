"""The contracts of the components: what a plugin's system, backbone, codec, voice, suite, metric or reporter implements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """One conversation. It owns all of its state and is given audio and what has been heard: nothing else.

    `push` takes the next chunk in when it is called (it is no generator itself) and returns an iterator over the work that
    is now possible, one unit of work per step: each `next()` does one unit (a token, a clause of speech) and reports it.
    The runner may drop the iterator as soon as new audio has arrived, and without a step where more has arrived already;
    the session must then carry on with its pending work at the next `push`. So a unit of work is the time for which a
    system is deaf.
    """

    def push(self, chunk: AudioChunk) -> Iterator[Event]: ...

    def heard(self, reply: int, samples: int) -> None:
        """Tells how many samples of reply number `reply` the listener has heard so far (called before a `push`)."""

    def finish(self) -> Iterator[Event]:
        """The conversation is over: do what is left, if anything."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class System(Protocol):
    """Anything that hears audio and speaks audio, live."""

    input_rate_hz: int
    output_rate_hz: int
    chunk: int  # samples at input_rate_hz that `push` takes

    def open(self, seed: int) -> Session: ...


@runtime_checkable
class TextRoute(Protocol):
    """A system that also answers by text, with the same frozen LLM, prompt and decoding: routes t2t and a2t2t."""

    def answer(self, history: Sequence[Message], seed: int) -> str:
        """The reply's text to `history`, whose last message is the user's question."""


@runtime_checkable
class Cacheable(Protocol):
    """A system that gives again what it has computed before if `replays` is set: where costs are declared, and nothing is timed."""

    replays: bool


class Recognizer(Protocol):
    """Speech to text. `transcribe` takes mono audio at any rate and returns the words with their times."""

    def transcribe(self, audio: AudioChunk) -> Transcript: ...


class Voice(Protocol):
    """Text to speech. `speakers` are the names that `speak` accepts; the first is the default."""

    speakers: tuple[str, ...]
    rate_hz: int

    def speak(self, text: str, seed: int, speaker: str | None = None) -> AudioChunk: ...


class Codec(Protocol):
    """Waveform <-> discrete tokens, streaming: `encode` [T] -> codes [K, F] and `decode` back, both with explicit state.

    Passing `state=None` begins a stream; the returned state goes into the next call. Streamed equals offline.
    """

    sample_rate_hz: int
    frame_rate_hz: float
    num_codebooks: int  # K
    cardinality: int

    def encode(self, audio: Samples, state: Any = None, last: bool = False) -> tuple[npt.NDArray[np.int64], Any]: ...

    def decode(self, codes: npt.NDArray[np.int64], state: Any = None, last: bool = False) -> tuple[Samples, Any]: ...


class Detokenizer(Protocol):
    """Token ids, one by one, into text."""

    def add(self, token: int) -> str:
        """The text that this token completes; empty while a character is incomplete."""

    def rest(self) -> str:
        """What was held back, when nothing more comes."""


class Backbone(Protocol):
    """A frozen text LLM. Tensors are the plugin's own kind (torch here); shapes in brackets.

    `state` is the KV cache as one object: `step` returns the state that follows, `fork` copies one on purpose, `crop` cuts
    one to its first `length` positions. Parameters are frozen: `parameter_hash()` is the same before and after any use.
    """

    name: str
    hidden_size: int  # D
    vocab_size: int  # V
    context: int  # positions that a state can hold
    end_ids: frozenset[int]  # tokens that end a reply

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text, without any special token."""

    def pieces(self) -> Detokenizer:
        """Turns the ids of one reply into text as they come."""

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the conversation in the model's own chat template, ending where the reply begins."""

    def embed(self, ids: Any) -> Any:
        """[B, T] ids -> [B, T, D] input embeddings."""

    def step(self, x: Any, state: Any = None, *, logits: int | None = None) -> tuple[Any, Any, Any]:
        """[B, T, D] inputs -> (final-norm hidden [B, T, D], logits [B, T, V], state). `logits`: of the last so many only."""

    def fork(self, state: Any) -> Any: ...

    def crop(self, state: Any, length: int) -> Any: ...

    def stream(
        self, messages: Sequence[Message], *, max_tokens: int, seed: int, temperature: float = 0.0
    ) -> Iterator[str]:
        """The reply, one token's text at a time; the first step includes the prefill. Greedy at temperature 0."""

    def parameter_hash(self) -> str: ...


class Suite(Protocol):
    """Makes scenarios: the same ones for the same seed, in an order whose every prefix is a fair subset."""

    def scenarios(self, seed: int) -> Iterator[Scenario]: ...


class Metric(Protocol):
    """A pure function of trace + scenario, and the aggregate of its scores over a run."""

    name: str
    version: int
    unit: str
    better: Literal["higher", "lower", "none"]

    def score(self, trace: Trace, scenario: Scenario) -> Score: ...

    def aggregate(self, scores: Sequence[Score]) -> list[Score]: ...


@runtime_checkable
class AudioMetric(Protocol):
    """A metric that needs a model on the sound: the runner's judge calls `measure`, before any scoring."""

    def measure(self, audio: AudioChunk) -> dict[str, float]:
        """Named values of a scenario's spoken reply (any rate), kept in `trace.measured[name]`; {} if it cannot be measured."""


class Reporter(Protocol):
    """Writes one view of a run's results; returns the file it wrote, or None if it only printed."""

    def write(self, results: Results, folder: Path) -> Path | None: ...


@runtime_checkable
class MultiRunReporter(Protocol):
    """A reporter that also writes one view of several runs; returns the file it wrote in `folder`, or None."""

    def write_several(self, runs: Sequence[Results], folder: Path) -> Path | None: ...
