"""A server in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

Serve = Callable[[Callable[[str], None]], Coroutine[Any, Any, None]]
PATIENCE_S = 10


@contextlib.contextmanager
def running(serve: Serve) -> Iterator[str]:
    """Runs `serve`, which hands its address to its argument, until the end of the block; gives the address.

    Raises what `serve` raises, and AssertionError where it does not begin, or end, in `PATIENCE_S`.
    """
    begun, found, tasks, errors = threading.Event(), [], [], []

    async def run() -> None:
        def ready(url: str) -> None:
            found.append(url)
            begun.set()

        tasks.append((asyncio.get_running_loop(), asyncio.current_task()))
        try:
            await serve(ready)
        except Exception as error:
            errors.append(error)
        finally:
            begun.set()

    def in_thread() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(run())

    thread = threading.Thread(target=in_thread, daemon=True)
    thread.start()
    assert begun.wait(PATIENCE_S), "the server does not begin"
    try:
        if found:
            yield found[0]
    finally:
        loop, task = tasks[0]
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            loop.call_soon_threadsafe(task.cancel)
        thread.join(PATIENCE_S)
    for error in errors:
        raise error
    assert not thread.is_alive(), "the server does not end"
