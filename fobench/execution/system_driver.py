"""Drives one system: opens sessions, does their work a step at a time, and measures what each step takes.

It lives in the process of the system under test (see `fobench.execution.process_host`) and is handed audio, what was heard, and, for the text
routes, text. Scenarios and their annotations never reach it.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Sequence
from typing import Any

from fobench.api import registry
from fobench.api.components import Cacheable, Session, System, TextRoute
from fobench.api.registry import ComponentSpec
from fobench.api.types import AudioChunk, Event, Message
from fobench.assets import store
from fobench.errors import FobenchError
from fobench.simulation.driver import PlaybackPosition, Step


def checked(name: str, system: Any) -> System:
    """`system`, if it can be driven. Raises `FobenchError` naming what is wrong with it."""
    for attribute in ("input_rate_hz", "output_rate_hz", "chunk"):
        value = getattr(system, attribute, None)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise FobenchError(f"System {name!r} cannot be run: its {attribute} must be an int > 0, not {value!r}.")
    if not callable(getattr(system, "open", None)):
        made = type(system).__name__
        raise FobenchError(f"System {name!r} cannot be run: its factory returned a {made}, which has no open(seed).")
    found: System = system
    return found


class LocalDriver:
    """A system of this process. One that is not `timed` may give again what it has computed before."""

    def __init__(self, system: ComponentSpec, timed: bool = True) -> None:
        self._system = checked(system.name, registry.create(system))
        if not timed and isinstance(self._system, Cacheable):
            self._system.cache_results = True
        self._session: Session | None = None
        self._work: Iterator[Event] = iter(())

    def rates(self) -> tuple[int, int, int]:
        """(input_rate_hz, output_rate_hz, chunk)."""
        return self._system.input_rate_hz, self._system.output_rate_hz, self._system.chunk

    def about(self) -> dict[str, Any]:
        """What the system says of its parts, e.g. backbone and parameter hash, and the `assets` it is made of; plain data."""
        describe = getattr(self._system, "about", None)
        return {**(describe() if describe else {}), "assets": store.used()}

    def open(self, seed: int) -> None:
        self.close()
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
        return self._system.answer(history, seed) if isinstance(self._system, TextRoute) else None

    def _opened(self) -> Session:
        assert self._session is not None, "open() comes first"
        return self._session

    def _step_since(self, start_ns: int) -> Step:
        event = next(self._work, None)
        return event, time.perf_counter_ns() - start_ns
