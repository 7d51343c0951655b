"""Work that blocks, beside the server's event loop: nothing waits for it at the end of a session, or of the process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from fobench.api.components import TextRoute
from fobench.api.types import Message
from fobench.errors import describe_error

T = TypeVar("T")


def in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """The result of `work` in a daemon thread, or what it raises. Who cancels the future drops the result, not the work."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def resolve(result: T | None, problem: Exception | None) -> None:
        if not future.done():
            future.set_exception(problem) if problem else future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, problem = None, None
        try:
            result = work()
        except Exception as error:
            problem = error
        except BaseException as error:  # SystemExit, say: it ends this work alone
            problem = RuntimeError(describe_error(error))
        if isinstance(problem, StopIteration):  # which a future refuses
            problem = RuntimeError(describe_error(problem))
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(resolve, result, problem)

    threading.Thread(target=run, name="fobench-background", daemon=True).start()
    return future


class TooManyAnswers(Exception):
    """As many answers are worked on as may be."""


@dataclass(slots=True)
class TextAnswers:
    """Answers by text of all sessions, also of those that have ended: a system cannot be stopped in one. `most` at a time."""

    most: int = 1
    _unfinished: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, system: TextRoute, history: Sequence[Message], seed: int) -> asyncio.Future[str]:
        """The answer to a conversation. Raises TooManyAnswers where no further one may begin now."""
        with self._lock:
            if self._unfinished >= self.most:
                raise TooManyAnswers
            self._unfinished += 1

        def answer() -> str:
            try:
                text = system.answer(history, seed)
                if not isinstance(text, str):
                    raise TypeError(f"the system answers by {type(text).__name__}, not by text")
                return text
            finally:
                with self._lock:
                    self._unfinished -= 1

        return in_thread(answer)
