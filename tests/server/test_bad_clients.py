"""Clients that do wrong: each ends by a clear error or reason, and a conversation beside it goes on unharmed."""

import asyncio
import contextlib
import json
import threading
import time

import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st

from fobench.server import app, call
from fobench.server.counters import Counters
from fobench.server.realtime_call import RealtimeCall
from tests.support.live.bare_socket import connected, frame, handshake, long_frame, waited
from tests.support.live.by_hand import append, exchange, scripted, silence, tone, wave
from tests.support.live.neighbor import answered_after_ms
from tests.support.live.served import served

DELAY_MS = 200
LATE_MS = 400  # by which a reply may come later: other processes of the tests share the cores


@pytest.fixture(scope="module")
def shared():
    """A server of many sessions: (address, server)."""
    with served(scripted(delay_ms=DELAY_MS, reply_ms=300), sessions=8) as found:
        yield found


def beside(url, abuse):
    """The result of an abuse, while a conversation beside it is answered as ever."""

    async def both():
        neighbor = asyncio.create_task(answered_after_ms(url))
        await asyncio.sleep(0.2)
        result = await abuse(url)
        answered = await neighbor
        assert DELAY_MS - 20 <= answered <= DELAY_MS + LATE_MS, answered
        return result

    return asyncio.run(both())


def closing_of(path, *messages, times=1):
    """An abuse that sends messages until the server ends the connection; its result is the closing frame."""

    async def abuse(url):
        async with websockets.connect(url + path, max_size=None) as socket:
            try:
                async with asyncio.timeout(10):
                    for _ in range(times):
                        for message in messages:
                            await socket.send(message)
                    await socket.wait_closed()
            except websockets.ConnectionClosed:
                pass
            await socket.wait_closed()
            return socket.close_code, socket.close_reason

    return abuse


FLOOD = [
    ("/pcm", bytes(1 << 20)),
    pytest.param("/v1/realtime", json.dumps(append(bytes(1 << 20))), marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("path", "message"), FLOOD, ids=["raw", "events"])
def test_a_flood_of_audio(shared, path, message):
    url, server = shared
    before = server.counters.dropped["flood"]
    assert beside(url, closing_of(path, message, times=50)) == (1008, "the audio is more than 60 s ahead of real time")
    assert server.counters.dropped["flood"] == before + 1


REFUSED = b"\x03\xf1frame with 100000000 bytes"  # code 1009 and its reason


def test_a_message_of_100_megabytes(shared):
    url, server = shared

    def send():
        socket = handshake(url, "/v1/realtime")
        socket.sendall(long_frame(100_000_000) + bytes(1000))
        received = b""
        while REFUSED not in received and (data := socket.recv(4096)):  # it does not wait for the message's end
            received += data
        with contextlib.suppress(OSError):
            for _ in range(100):
                socket.sendall(b"x" * 1_000_000)
        return received

    received = beside(url, lambda url: asyncio.to_thread(send))
    assert REFUSED in received
    assert waited(lambda: server.counters.dropped["message_size"] == 1)


def test_a_client_that_never_reads(monkeypatch):
    monkeypatch.setattr(call, "MOST_UNSENT", 300)
    monkeypatch.setattr(app, "CLOSING_S", 0.4)

    async def abuse(url):
        socket = await asyncio.to_thread(handshake, url, "/v1/realtime")
        with contextlib.suppress(OSError):
            await asyncio.to_thread(socket.sendall, frame(b'{"type": "x"}') * 30_000)
        return socket

    with served(scripted(delay_ms=DELAY_MS, reply_ms=300)) as (url, server):
        socket = beside(url, abuse)
        assert waited(lambda: server.counters.dropped["unread"] == 1)
        assert waited(lambda: server.counters.sessions == 0)
        socket.close()


@pytest.mark.slow
def test_a_client_that_takes_nothing_for_long(monkeypatch):
    monkeypatch.setattr(app, "MOST_BLOCKED_S", 0.3)
    with served(scripted(delay_ms=DELAY_MS, reply_ms=100_000, pace="at_once")) as (url, server):
        socket = handshake(url, "/pcm?output_rate=48000")  # its reply: 9.6 MB, more than a connection holds
        socket.sendall(frame(wave(400, 16_000), binary=True) + frame(bytes(16_000), binary=True))
        assert waited(lambda: server.counters.dropped["unread"] == 1)
        assert waited(lambda: server.counters.sessions == 0)
        socket.close()


def test_a_handshake_that_takes_for_ever(monkeypatch):
    monkeypatch.setattr(app, "HANDSHAKE_S", 0.5)
    with served(scripted()) as (url, _):
        with connected(url) as socket:
            start = time.monotonic()
            socket.sendall(b"GET /v1/realtime HTTP/1.1\r\n")
            try:
                while time.monotonic() < start + 5:
                    socket.sendall(b"X: y\r\n")
                    time.sleep(0.05)
            except OSError:
                pass
            assert 0.4 < time.monotonic() - start < 3
        assert exchange(url, until="session.created")


def test_clients_that_leave_a_system_that_is_busy():
    """Each leaves a session behind that ends with its current step of work: they must not pile up."""
    system, go_on = scripted(), threading.Event()
    begin = system.open
    system.open = lambda seed: go_on.wait(20) and begin(seed)
    with served(system, sessions=1) as (url, server):
        for left in range(2):
            assert exchange(url, until="session.created")
            assert waited(lambda: server.counters.sessions == 0), left
        with pytest.raises(websockets.InvalidStatus) as refused:
            exchange(url, until="session.created")
        assert refused.value.response.body == (
            b"The system still works for 2 clients that have left. Try again later.\n"
        )
        go_on.set()
        assert waited(lambda: server._no_room() is None)
        assert exchange(url, until="session.created")


def test_a_sample_is_not_split(shared):
    url, _ = shared
    received = exchange(url, append(bytes(5)), until="error")
    assert received[-1]["error"]["message"] == "5 bytes are no whole number of 16-bit samples"


# ---- what is asked for in vain -------------------------------------------------------------------------------------------

MANUAL = {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}}
CREATE, COMMIT = {"type": "response.create"}, {"type": "input_audio_buffer.commit"}
TYPED = {
    "type": "conversation.item.create",
    "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Which city?"}]},
}


def test_two_responses_at_once():
    system, go_on = scripted(), threading.Event()
    system.answer = lambda history, seed: go_on.wait(5) and "It is Paris."
    with served(system) as (url, _):
        refused = exchange(url, TYPED, CREATE, CREATE, until="error")
        assert refused[-1]["error"]["code"] == "conversation_already_has_active_response"
        cancelled = exchange(url, TYPED, CREATE, {"type": "response.cancel"}, TYPED, CREATE, until="error")
        assert [e["response"]["status"] for e in cancelled if e["type"] == "response.done"] == ["cancelled"]
        assert cancelled[-1]["error"]["code"] == "answer_in_progress"
        go_on.set()
        assert exchange(url, TYPED, CREATE, until="response.done")[-1]["response"]["status"] == "completed"


def test_a_response_to_nothing_committed():
    with served(scripted(delay_ms=300, reply_ms=300, pace="at_once")) as (url, _):
        early = exchange(url, MANUAL, CREATE, until="error")
        empty = exchange(url, MANUAL, append(b""), COMMIT, until="error")
        twice = exchange(url, MANUAL, silence(100), tone(400), COMMIT, CREATE, CREATE, until="error")
    assert early[-1]["error"]["code"] == "nothing_to_answer"
    assert empty[-1]["error"]["code"] == "input_audio_buffer_commit_empty"
    assert twice[-1]["error"]["code"] in ("nothing_to_answer", "conversation_already_has_active_response")


def test_a_long_turn_that_the_client_ends_is_heard_whole():
    """Longer than what may wait in a live conversation, where more is a flood."""
    with served(scripted(delay_ms=300, reply_ms=300, pace="at_once")) as (url, server):
        long = [silence(31_000)] * 2
        received = exchange(url, MANUAL, *long, tone(400), COMMIT, CREATE, until="response.done")
    assert received[-1]["response"]["status"] == "completed"
    assert server.counters.dropped == {}


def test_a_truncation_beyond_the_end():
    async def talk(url):
        async with websockets.connect(f"{url}/v1/realtime") as socket, asyncio.timeout(8):
            for event in (silence(100), tone(400), silence(600)):
                await socket.send(json.dumps(event))
            events = []
            async for message in socket:
                events.append(json.loads(message))
                if events[-1]["type"] == "response.done":
                    item = events[-1]["response"]["output"][0]["id"]
                    user = next(e["item_id"] for e in events if e["type"] == "input_audio_buffer.committed")
                    for name, heard_ms in ((item, 2000), (user, 10), ("item_x", 10), (item, True), (item, 250)):
                        place = {"item_id": name, "content_index": 0, "audio_end_ms": heard_ms}
                        await socket.send(json.dumps({"type": "conversation.item.truncate", **place}))
                elif events[-1]["type"] == "conversation.item.truncated":
                    assert await asyncio.to_thread(waited, lambda: heard[-1:] == [(0, 250 * 24)])  # the system is told
                    break
            return [event["error"] for event in events if event["type"] == "error"], events[-1]

    system, heard = scripted(delay_ms=300, reply_ms=400, pace="at_once"), []
    begin = system.open

    def listening(seed):
        session = begin(seed)
        session.heard = lambda *position: heard.append(position)
        return session

    system.open = listening
    with served(system) as (url, _):
        errors, truncated = asyncio.run(talk(url))
    assert [error["code"] for error in errors] == ["invalid_value", "invalid_value", "item_not_found", "invalid_value"]
    assert errors[0]["message"] == "audio_end_ms=2000 is beyond the item's 400 ms of audio"
    assert truncated["audio_end_ms"] == 250


WORDS = st.sampled_from(
    ["append", "commit", "clear", "update", "create", "cancel", "truncate", "delete", "retrieve", "input_audio_buffer"]
)
KINDS = st.one_of(
    st.text(max_size=20),
    st.builds("input_audio_buffer.{}".format, WORDS),
    st.builds("conversation.item.{}".format, WORDS),
    st.sampled_from(["session.update", "response.create", "response.cancel"]),
)
FIELDS = [
    "audio",
    "session",
    "response",
    "item",
    "item_id",
    "audio_end_ms",
    "event_id",
    "content",
    "role",
    "text",
    "id",
]
FIELDS += ["type", "format", "rate", "input", "output", "turn_detection", "output_modalities", "input_audio_format"]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["audio/pcm", "audio/pcmu", "pcm16", "user", "input_text", "server_vad", 24_000, 8_000.0, "AAAA"]),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)),
)


@given(
    st.lists(st.tuples(KINDS, st.dictionaries(st.sampled_from(FIELDS), TREES, max_size=4)), max_size=6),
    st.binary(max_size=9),
)
def test_any_events_are_followed_or_answered_by_an_error(events, raw):
    async def talk():
        client = RealtimeCall(scripted(), 0, asyncio.get_running_loop(), Counters())
        for kind, fields in events:
            await client.take(json.dumps({**fields, "type": kind}))
        await client.take(raw)
        await client.take(raw.decode(errors="replace"))
        sent = []
        while not client.outgoing.is_empty():
            sent.append(json.loads(await client.outgoing.get()))
        return sent

    errors = [event["error"]["code"] for event in asyncio.run(talk()) if event["type"] == "error"]
    assert "invalid_event" in errors  # the binary message, after all that came before it
