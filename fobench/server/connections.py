"""TCP connections of the server: no more at a time than it can have open, also of clients that ask for nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

BESIDE_SESSIONS = 128  # connections that are no sessions, or not yet


def bounded(most: int) -> type[ServerConnection]:
    """The class of a server's connections, of which `most` may be open; further ones are cut off when they are made.

    Without a bound, idle connections take all file descriptors of the process, and none is left for those that are refused.
    """
    from websockets.asyncio.server import ServerConnection

    class BoundedConnection(ServerConnection):
        """A connection that counts."""

        count = 0

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            BoundedConnection.count += 1
            super().connection_made(transport)
            if BoundedConnection.count > most:
                self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            BoundedConnection.count -= 1
            super().connection_lost(exc)

    return BoundedConnection
