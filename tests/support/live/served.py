"""A system of this process behind the Realtime protocol, in a thread of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from fobench.server.app import Limits, Server
from tests.support.live.in_thread import running


@contextlib.contextmanager
def served(system: Any, **options: Any) -> Iterator[tuple[str, Server]]:
    """(address ws://..., the server)."""
    limits = Limits(**{name: options.pop(name) for name in ("sessions", "minutes", "idle_s") if name in options})
    server = Server(system, "test", port=0, limits=limits, **options)
    with running(server.run) as url:
        yield url.replace("http", "ws"), server
