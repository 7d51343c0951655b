"""A system of this process behind the Realtime protocol, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from fobench.server.app import Limits, Server


@contextlib.contextmanager
def served(system: Any, **options: Any) -> Iterator[tuple[str, Server]]:
    """(address ws://..., the server)."""
    limits = Limits(**{name: options.pop(name) for name in ("sessions", "minutes", "idle_s") if name in options})
    server = Server(system, "test", port=0, limits=limits, **options)
    loop, ready, found = asyncio.new_event_loop(), threading.Event(), []

    def begin(url: str) -> None:
        found.append(url.replace("http", "ws"))
        ready.set()

    task = loop.create_task(server.run(begin))
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(asyncio.gather(task, return_exceptions=True)), daemon=True
    )
    thread.start()
    assert ready.wait(10)
    try:
        yield found[0], server
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)
