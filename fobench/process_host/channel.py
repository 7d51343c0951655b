"""Messages between a process and its component's: bytes with their length before them, over a socket."""

from __future__ import annotations

import socket
import struct
import time

ANSWER_BYTES = 1 << 28  # of one answer, at most
HEADER = struct.Struct("!Q")  # length of a message
LANE = "fobench: another lane"  # the call by which a component's process is handed another channel


def send(channel: socket.socket, message: bytes) -> None:
    channel.sendall(HEADER.pack(len(message)) + message)


def read(channel: socket.socket, count: int, deadline: float | None = None) -> bytearray:
    """Exactly `count` bytes. Raises TimeoutError after the deadline (of time.monotonic), EOFError at the other side's end."""
    message, done = bytearray(count), 0
    view = memoryview(message)
    while done < count:
        channel.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))
        if not (read := channel.recv_into(view[done:])):
            raise EOFError
        done += read
    return message
