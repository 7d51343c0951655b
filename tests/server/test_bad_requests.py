"""Requests that cannot be read, and floods of the protocol's own frames: others are served as ever, and the log stays short."""

import threading
import time

import pytest

from fobench.api.secret import secret
from fobench.errors import PrerequisiteError
from tests.support.live.bare_socket import connected, frame, handshake
from tests.support.live.by_hand import exchange, scripted
from tests.support.live.served import served

UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
UPGRADE += "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"


@pytest.fixture(scope="module")
def shared():
    with served(scripted(), key="k1", sessions=4) as found:
        yield found


def status(url, text):
    """The status line of the answer to a request."""
    with connected(url) as socket:
        socket.sendall(text.encode())
        return socket.recv(4096).partition(b"\r\n")[0].decode()


@pytest.mark.parametrize(
    "text",
    [
        "GET //[x HTTP/1.1\r\n\r\n",
        f"GET /v1/realtime HTTP/1.1\r\nHost: [\r\nOrigin: http://[\r\n{UPGRADE}\r\n",
        f"GET /v1/realtime HTTP/1.1\r\nHost: a\r\nHost: b\r\nOrigin: http://a\r\n{UPGRADE}\r\n",
        f"GET /v1/realtime HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\nOrigin: http://b\r\n{UPGRADE}\r\n",
        f"GET /v1/realtime HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nAuthorization: b\r\n{UPGRADE}\r\n",
    ],
    ids=["no address", "no host", "two hosts", "two origins", "two keys"],
)
def test_a_request_that_cannot_be_read_is_a_bad_request(shared, text):
    url, server = shared
    before = server.counters.refused["request"]
    assert status(url, text) == "HTTP/1.1 400 Bad Request"
    assert server.counters.refused["request"] == before + 1


def test_sub_protocols_may_stand_in_several_headers(shared):
    url, _ = shared
    protocols = "Sec-WebSocket-Protocol: realtime\r\nSec-WebSocket-Protocol: openai-insecure-api-key.k1\r\n"
    request = f"GET /v1/realtime HTTP/1.1\r\nHost: a\r\n{protocols}{UPGRADE}\r\n"
    assert status(url, request) == "HTTP/1.1 101 Switching Protocols"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Authorization: Bearer k1", "101"),
        ("Authorization: bearer  k1", "101"),
        ("Authorization: k1", "101"),
        ("api-key: k1", "101"),
        ("Authorization: Basic k1", "401"),
        ("Authorization: Bearer", "401"),
        ("Authorization: Bearer k\xe9", "401"),
        ("Authorization: Bearer k1 k1", "401"),
    ],
)
def test_keys_in_headers(shared, header, expected):
    request = f"GET /v1/realtime HTTP/1.1\r\nHost: a\r\n{header}\r\n{UPGRADE}\r\n"
    assert status(shared[0], request).split()[1] == expected


@pytest.mark.parametrize("key", ["k\xe9", "k\x7f1", "a\nb"])
def test_a_key_that_no_header_can_carry_is_refused_at_the_start(key, monkeypatch):
    monkeypatch.setenv("SERVED_KEY", key)
    with pytest.raises(PrerequisiteError, match="SERVED_KEY holds a character that is no printable ASCII") as refused:
        secret("SERVED_KEY")
    assert key not in str(refused.value)


PING, PONG = 0x89, 0x8A


@pytest.mark.parametrize("kind", [PING, PONG], ids=["pings", "pongs"])
def test_a_flood_of_control_frames_takes_no_more_than_its_turn(kind, caplog):
    """A piece of such a flood holds ten thousands of frames."""
    with served(scripted()) as (url, _):
        socket, stop = handshake(url, "/v1/realtime"), threading.Event()
        data = bytes([kind, *frame(b"")[1:]]) * 40_000

        def flood():
            while not stop.is_set():
                try:
                    socket.sendall(data)
                except OSError:
                    return

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            waited = []
            for _ in range(5):
                start = time.monotonic()
                assert exchange(url, until="session.created")
                waited.append(time.monotonic() - start)
        finally:
            stop.set()
            socket.close()
            thread.join(10)
    print(f"others waited {max(waited):.2f} s at most")
    assert sorted(waited)[2] < 1.0
    assert "socket.send" not in caplog.text
