"""Systems that live in real time: a server, a device, an application behind a socket, as one async function per conversation.

Such a system cannot be stepped: its events come when they come. `LiveSystem` runs the function in a thread with an event loop
of its own, hands it the microphone, and stamps every event at the moment of `emit`. A run with such a system uses the wall
clock by itself, and takes the times from the stamps, so that they are exact although events are collected once per chunk.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
import time
import typing
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar, Self

from fobench.api.types import AudioChunk, Event
from fobench.errors import FobenchError, SystemFailure, describe_error

READY_S = 30.0  # time for a conversation to begin: until it asks for the first audio
CLOSING_S = 5.0  # time for a conversation to end after the last audio
MOST_WAITING = 20_000  # events between two chunks of audio


class LiveCall:
    """One conversation, as its async function sees it. `seed` is the scenario's."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.heard: tuple[int, int] | None = None  # (reply number, samples of it that were played), the latest
        self._loop: asyncio.AbstractEventLoop | None = None
        self._audio: asyncio.Queue[AudioChunk | None] = asyncio.Queue()
        self._events: deque[Event] = deque()
        self._ready = threading.Event()

    async def microphone(self) -> AsyncIterator[AudioChunk]:
        """The user's audio, chunk by chunk at real-time pace, until the conversation is over.

        Asking for the first chunk tells that the connection stands: only then does the conversation begin.
        """
        self._ready.set()
        while (chunk := await self._audio.get()) is not None:
            yield chunk

    def emit(self, event: Event) -> None:
        """Hands over an event that has happened now. Raises SystemFailure (`endless`) for a flood of them."""
        if len(self._events) >= MOST_WAITING:
            raise SystemFailure("endless", f"more than {MOST_WAITING:,} events within one chunk of audio")
        self._events.append(replace(event, compute_ns=time.perf_counter_ns()))


class LiveSystem(ABC):
    """A system in real time: implement `converse`. Rates and chunk are as in `fobench.api.components.System`."""

    real_time: ClassVar[bool] = True
    input_rate_hz: int = 16_000
    output_rate_hz: int = 24_000
    chunk: int = 320

    @abstractmethod
    async def converse(self, call: LiveCall) -> None:
        """Holds one conversation: sends the chunks of `call.microphone()`, and hands events to `call.emit`.

        It returns when the microphone has ended; it is cancelled if that takes more than `CLOSING_S`. What it raises
        fails the scenario.
        """

    def open(self, seed: int) -> LiveSession:
        return LiveSession(self, seed)


class LiveSession:
    """A conversation of a `LiveSystem` behind the protocol of `fobench.api.components.Session`."""

    def __init__(self, system: LiveSystem, seed: int) -> None:
        self._system, self._call = system, LiveCall(seed)
        self._thread = threading.Thread(target=self._run, name="fobench-live", daemon=True)
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._ended = threading.Event()
        self._finishing = False

    def __enter__(self) -> Self:
        """Begins the conversation. Raises what `converse` raises before it asks for audio; SystemFailure if it takes too long."""
        self._thread.start()
        deadline = time.monotonic() + READY_S
        while not self._call._ready.wait(0.005):
            if self._ended.is_set():
                self._check()
            if time.monotonic() > deadline:
                self.__exit__()
                raise SystemFailure("hung", f"the conversation did not begin within {READY_S:.0f} s")
        return self

    def __exit__(self, *exc: object) -> None:
        self._finishing = True
        loop, task = self._call._loop, self._task
        if loop is not None and task is not None and not self._ended.is_set():
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                loop.call_soon_threadsafe(task.cancel)
        if self._thread.is_alive():
            self._thread.join(CLOSING_S)

    def push(self, chunk: AudioChunk) -> Iterator[Event]:
        """Hands the chunk to the microphone; the events that have come, each with the time of its stamp in `compute_ns`."""
        self._send(chunk)
        return self._collect()

    def heard(self, reply: int, samples: int) -> None:
        self._call.heard = (reply, samples)

    def finish(self) -> Iterator[Event]:
        """Ends the microphone and waits for the function to return; the events that are left."""
        self._finishing = True
        self._send(None)
        self._ended.wait(CLOSING_S)
        return self._collect()

    def _send(self, chunk: AudioChunk | None) -> None:
        if self._ended.is_set():
            return
        assert self._call._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop has just ended; `_collect` tells why
            self._call._loop.call_soon_threadsafe(self._call._audio.put_nowait, chunk)

    def _collect(self) -> Iterator[Event]:
        while self._call._events:
            yield self._call._events.popleft()
        if self._ended.is_set():
            self._check()

    def _check(self) -> None:
        """Raises the error with which the function has ended, or for having ended before the conversation."""
        error, self._error = self._error, None
        if isinstance(error, FobenchError):
            raise error
        if error is not None:
            raise SystemFailure("raised", describe_error(error)) from error
        if not self._finishing:
            raise SystemFailure("died", "the system ended the conversation while the user was still there")

    def _run(self) -> None:
        try:
            asyncio.run(self._converse())
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # a plugin may raise anything; the next step tells it
            self._error = error
        finally:
            self._ended.set()

    async def _converse(self) -> None:
        self._call._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        await self._system.converse(self._call)


def declares_real_time(factory: Callable[..., Any]) -> bool | None:
    """Whether the systems of a factory live in real time: by its class, or the class that it declares to return.

    None where it declares none: only a system that it has made can tell.
    """
    made: Any = factory
    if not inspect.isclass(factory):
        try:
            made = typing.get_type_hints(factory).get("return")
        except Exception:  # an annotation may name anything
            made = None
    return getattr(made, "real_time", False) is True if inspect.isclass(made) and hasattr(made, "open") else None
