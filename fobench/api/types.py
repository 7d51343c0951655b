"""The nouns that cross every boundary: audio chunks, events, scores, and the contracts of the components.

Time is integer nanoseconds or sample indices, never float seconds. The three clocks are defined in `fobench.simulation.clock`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pathlib import Path

    from fobench.api.results import Results
    from fobench.api.scenario import Scenario
    from fobench.api.trace import Trace
    from fobench.comparison import Comparison
    from fobench.comparison.trend import Trend

Samples = npt.NDArray[np.float32]
Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": ...}

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


def samples_to_ns(samples: int, rate_hz: int) -> int:
    """Duration of `samples` at `rate_hz` in nanoseconds, rounded down (exact integers, no drift)."""
    return samples * NS_PER_S // rate_hz


def ns_to_samples(ns: int, rate_hz: int) -> int:
    """Index of the first sample at or after `ns` at `rate_hz`: the inverse of `samples_to_ns`."""
    return -(-ns * rate_hz // NS_PER_S)


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """Mono audio: `samples` float32 [T] in [-1, 1] at `rate_hz`; `start` is the index of its first sample in its stream."""

    samples: Samples
    rate_hz: int
    start: int = 0

    @property
    def duration_ns(self) -> int:
        return samples_to_ns(len(self.samples), self.rate_hz)


class EventKind(StrEnum):
    """What a system can report. Only `AUDIO` and `DECISION` are needed; the others make more metrics possible."""

    SPEECH_START = "speech_start"  # the system hears the user begin
    SPEECH_END = "speech_end"  # the system hears the user pause or end
    TRANSCRIPT = "transcript"  # data.text: what the system understood the user to have said
    DECISION = "decision"  # data.action: see Action
    TOKEN = "token"  # data.text: a piece of the reply's text
    AUDIO = "audio"  # data.audio: AudioChunk of the reply; data.reply: its number, from 0; data.text: words it voices
    REPLY_END = "reply_end"  # data.reply: nothing more will come for this reply
    STATE = "state"  # data.p0, p1, p2: duplex state probabilities of a chunk
    BUSY = (
        "busy"  # a step of work with nothing to report, e.g. prefill; data.work names it, data.path: "input" | "output"
    )


class Action(StrEnum):
    """The action of a `DECISION`."""

    SPEAK = "speak"  # the turn is mine: a reply follows
    IGNORE = "ignore"  # the user's turn needs no answer
    YIELD = "yield"  # stop talking: whatever is not yet played is dropped


@dataclass(frozen=True, slots=True)
class Event:
    """Something a system did, on the three clocks (integer ns from the scenario's start).

    `media_ns`: position in the audio it is about (user audio consumed, or reply audio generated so far).
    `compute_ns`: when the computation that made it ended. `cost_ns`: how long that computation took.
    `playback_ns`: when a listener begins to hear it (audio only).
    Systems fill `kind`, `data` and, if they like, `media_ns`; the runner fills the rest.
    """

    kind: EventKind
    data: Mapping[str, Any] = field(default_factory=dict)
    media_ns: int | None = None
    compute_ns: int | None = None
    playback_ns: int | None = None
    cost_ns: int = 0

    def stamped(self, **times: int | None) -> Event:
        return replace(self, **times)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Score:
    """One metric's verdict on one scenario or, aggregated, on a run.

    `value` is None, with a `reason`, where the score cannot be given: never 0, never dropped, never clamped.
    `n` counts what the value rests on; `ci` is its 95 % interval; `detail` holds counts and named parts.
    """

    metric: str
    version: int
    value: float | None
    unit: str
    n: int
    better: Literal["higher", "lower", "none"] = "none"
    reason: str = ""
    ci: tuple[float, float] | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


# ---- Contracts of the components -------------------------------------------------------------------------------------


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
class Replayable(Protocol):
    """A system that gives again what it has computed before if `replays` is set: where costs are declared, and nothing is timed."""

    replays: bool


class Recognizer(Protocol):
    """Speech to text. `transcribe` takes mono audio at any rate and returns the words with their times."""

    def transcribe(self, audio: AudioChunk) -> Transcript: ...


@dataclass(frozen=True, slots=True)
class Word:
    """A recognised word and the sample-exact span of media time it was spoken in."""

    text: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a recogniser heard. `words` is empty where the recogniser gives no times."""

    text: str
    words: tuple[Word, ...] = ()


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


class Pieces(Protocol):
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

    def pieces(self) -> Pieces:
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
class Measuring(Protocol):
    """A metric that needs a model on the sound: the runner's judge calls `measure`, before any scoring."""

    def measure(self, audio: AudioChunk) -> dict[str, float]:
        """Named values of a scenario's spoken reply (any rate), kept in `trace.measured[name]`; {} if it cannot be measured."""


class Reporter(Protocol):
    """Writes one view of a run's results; returns the file it wrote, or None if it only printed."""

    def write(self, results: Results, folder: Path) -> Path | None: ...


@runtime_checkable
class SideBySide(Protocol):
    """A reporter that also writes one view of several runs; returns the file it wrote in `folder`, or None."""

    def write_several(self, runs: Sequence[Results], folder: Path) -> Path | None: ...


@runtime_checkable
class Comparing(Protocol):
    """A reporter that also writes a comparison of two runs; returns the file it wrote in `folder`, or None.

    `folder` is None where nothing is to be written: only those that print are asked then.
    """

    def write_comparison(self, comparison: Comparison, folder: Path) -> Path | None: ...


@runtime_checkable
class Trending(Protocol):
    """A reporter that also draws figures over many runs; returns the file it wrote in `folder`, or None."""

    def write_trend(self, trend: Trend, folder: Path) -> Path | None: ...
