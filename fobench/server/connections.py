"""TCP connections of the server: no more at a time than it can have open, also of clients that ask for nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

BESIDE_SESSIONS = 128  # connections that are no sessions, or not yet
READ_BYTES = 1 << 12  # that are read of a connection before others have their turn: 700 of the shortest frames
MOST_UNREAD_BYTES = 1 << 24  # answers to pings that a client has not read


def is_news(record: logging.LogRecord) -> bool:
    """Whether a record of asyncio's log tells more than that a client has left while it was sent something: it comes for each frame."""
    return record.msg != "socket.send() raised exception."


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
            with contextlib.suppress(AttributeError):  # another loop than asyncio's own
                transport.max_size = READ_BYTES  # type: ignore[attr-defined]
            if BoundedConnection.count > most:
                self.transport.abort()

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            super().data_received(data)
            if self.transport.get_write_buffer_size() > MOST_UNREAD_BYTES:
                self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            BoundedConnection.count -= 1
            super().connection_lost(exc)

    return BoundedConnection
