"""A WebSocket by hand, for what no client library would do."""

import socket as sockets
import struct
import time
from urllib.parse import urlsplit


def waited(condition, seconds=8.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def connected(url, receive_bytes=4096):
    """A TCP connection with little room for what it does not read."""
    socket = sockets.socket()
    socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, receive_bytes)
    socket.settimeout(5)
    socket.connect(("127.0.0.1", urlsplit(url).port))
    return socket


def handshake(url, path):
    """A WebSocket of which nothing is read but the answer to its handshake."""
    socket = connected(url)
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade"]
    lines += ["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version: 13", "", ""]
    socket.sendall("\r\n".join(lines).encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += socket.recv(1)
    return socket


def frame(data, binary=False):
    """A masked frame, whose mask changes nothing."""
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
    return bytes([0x82 if binary else 0x81]) + size + bytes(4) + data


def long_frame(size):
    """The beginning of a frame of `size` bytes of text."""
    return b"\x81\xff" + struct.pack(">Q", size) + bytes(4)
