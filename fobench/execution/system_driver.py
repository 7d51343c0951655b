"""Drives one system: opens sessions, does their work a step at a time, and measures what each step takes.

It lives in the process of the system under test (see `fobench.process_host`) and is handed audio, what was heard, and, for the text
routes, text. Scenarios and their annotations never reach it.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Sequence
from typing import Any

from fobench.api import registry
from fobench.api.components import Cacheable, Session, System, TextRoute
from fobench.api.plain_data import Allowance, plain, plain_text
from fobench.api.registry import ComponentSpec
from fobench.api.typed import shown
from fobench.api.types import AudioChunk, Event, EventKind, Message
from fobench.assets import store
from fobench.errors import FobenchError, SystemFailure, describe_error
from fobench.simulation.driver import PlaybackPosition, Step
from fobench.simulation.event_check import checked_event

RATES_HZ = (1_000, 768_000)  # of a system's audio
LONGEST_CHUNK_S = 10
CONVERSATION_BYTES = 40_000_000  # of the events of one conversation in its trace, at most
CONVERSATION_SAMPLES = 1 << 27  # of the audio of one conversation: 93 minutes at 24 kHz
LONGEST_ANSWER = 1_000_000  # characters


def checked(name: str, system: Any) -> System:
    """`system`, if it can be driven. Raises `FobenchError` naming what is wrong with it."""
    for attribute in ("input_rate_hz", "output_rate_hz", "chunk"):
        value = getattr(system, attribute, None)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise FobenchError(
                f"System {name!r} cannot be run: its {attribute} must be an int > 0, not {shown(value)}."
            )
        low, high = (1, LONGEST_CHUNK_S * system.input_rate_hz) if attribute == "chunk" else RATES_HZ
        if not low <= value <= high:
            raise FobenchError(
                f"System {name!r} cannot be run: its {attribute} must be from {low} to {high}, not {shown(value)}."
            )
    if not callable(getattr(system, "open", None)):
        made = type(system).__name__
        raise FobenchError(f"System {name!r} cannot be run: its factory returned a {made}, which has no open(seed).")
    found: System = system
    return found


class LocalDriver:
    """A system of this process, made by its specification, or given. One that is not `timed` may give again what it has
    computed before.

    Its events and answers are checked here, where an object of the plugin can do no harm: what is returned is plain data,
    the types of `fobench.api.types`, and no more of it than a trace can hold.
    """

    def __init__(self, system: ComponentSpec | System, timed: bool = True) -> None:
        if isinstance(system, ComponentSpec):
            system = checked(system.name, registry.create(system))
        self._system = system
        if not timed and isinstance(self._system, Cacheable):
            self._system.cache_results = True
        self._session: Session | None = None
        self._work: Iterator[Event] = iter(())
        self._allowance, self._samples = Allowance(CONVERSATION_BYTES), 0

    def twin(self) -> LocalDriver:
        """A driver of the same system for another conversation, at the same time."""
        return LocalDriver(self._system)

    def rates(self) -> tuple[int, int, int]:
        """(input_rate_hz, output_rate_hz, chunk)."""
        return self._system.input_rate_hz, self._system.output_rate_hz, self._system.chunk

    def real_time(self) -> bool:
        """Whether the system lives in real time (`fobench.api.live`): its events bear the time at which they came."""
        return getattr(self._system, "real_time", False) is True

    def about(self) -> dict[str, Any]:
        """What the system says of its parts, e.g. backbone and parameter hash, and the `assets` it is made of; plain data."""
        return {**described(self._system), "assets": store.used()}

    def open(self, seed: int) -> None:
        self.close()
        self._allowance, self._samples = Allowance(CONVERSATION_BYTES), 0
        self._session = self._system.open(seed)
        self._session.__enter__()

    def push(self, chunk: AudioChunk, heard: PlaybackPosition | None, more: bool = False) -> Step:
        """Hands over the next chunk and does the first step of the work that it makes possible; none if `more` waits already."""
        session = self._opened()
        start = time.perf_counter_ns()
        if heard is not None:
            session.heard(*heard)
        self._work = iter(session.push(chunk))
        if more and not inspect.isgeneratorfunction(
            session.push
        ):  # one that is has heard nothing before its first step
            return None, time.perf_counter_ns() - start
        return self._step_since(start)

    def step(self) -> Step:
        return self._step_since(time.perf_counter_ns())

    def finish(self) -> Step:
        start = time.perf_counter_ns()
        self._work = iter(self._opened().finish())
        return self._step_since(start)

    def close(self) -> None:
        session, self._session, self._work = self._session, None, iter(())
        if session is not None:
            session.__exit__(None, None, None)

    def answer(self, history: Sequence[Message], seed: int) -> str | None:
        """The system's reply by text, or None if it has no text route."""
        if not isinstance(self._system, TextRoute):
            return None
        answer = self._system.answer(history, seed)
        if not isinstance(answer, str):
            raise SystemFailure("bad_answer", f"answer must return text, not {type(answer).__name__}")
        if len(answer) > LONGEST_ANSWER:
            raise SystemFailure(
                "bad_answer", f"an answer of {len(answer):,} characters; the limit is {LONGEST_ANSWER:,}"
            )
        return plain_text(answer)

    def _opened(self) -> Session:
        assert self._session is not None, "open() comes first"
        return self._session

    def _step_since(self, start_ns: int) -> Step:
        event = next(self._work, None)
        taken_ns = time.perf_counter_ns() - start_ns
        if event is None:
            return None, taken_ns
        event = checked_event(event, self._system.output_rate_hz, self._allowance, stamped=self.real_time())
        if event.kind == EventKind.AUDIO:
            self._samples += len(event.data["audio"].samples)
            if self._samples > CONVERSATION_SAMPLES:
                raise SystemFailure(
                    "endless", f"more than {CONVERSATION_SAMPLES:,} samples of audio in one conversation"
                )
        return event, taken_ns


def described(component: Any) -> dict[str, Any]:
    """What `component.about()` says, as plain data; {"problem": why} if that cannot be recorded, {} without an `about`."""
    try:
        describe = getattr(component, "about", None)
        about = plain(describe() if describe else {}, "about()")
        if not isinstance(about, dict):
            raise ValueError(f"about() must return a table, not {type(about).__name__}")
        if not isinstance(parts := about.get("parts", {}), dict) or not all(
            isinstance(p, dict) for p in parts.values()
        ):
            raise ValueError(f"about()['parts'] must be a table of tables, not {shown(parts)}")
        if not isinstance(about.get("parameter_hash", ""), str):
            raise ValueError(f"about()['parameter_hash'] must be text, not {shown(about['parameter_hash'])}")
    except Exception as error:  # a plugin may raise anything; a run does not depend on the description
        return {"problem": describe_error(error)}
    return about
