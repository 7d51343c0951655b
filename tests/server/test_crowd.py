"""A server process under a crowd: its memory and its file descriptors stay bounded, and a conversation beside goes on (slow)."""

import asyncio
import contextlib
import re
import resource
import subprocess
import sys
import time
from urllib.request import urlopen

import psutil
import pytest
import websockets

from tests.support.live.bare_socket import frame, handshake, long_frame, waited
from tests.support.live.neighbor import answered_after_ms

pytestmark = [pytest.mark.slow, pytest.mark.subprocess]
DELAY_MS = 200
SESSIONS = 4
FILES = 512  # that the server may have open
GROWTH = 150 << 20  # bytes by which its memory may grow in all


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """(process, address) of `fobench serve` with few file descriptors, which must tell of no error."""
    arguments = ["serve", "--system", "scripted:late", "--system-args", f"delay_ms={DELAY_MS}", "--port", "0"]
    log = tmp_path_factory.mktemp("crowd") / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "fobench", *arguments, "--no-warm-up", "--sessions", str(SESSIONS)],
            stderr=file,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES)),
        )
    while not (found := re.search(r"ws://\S+?(?=/v1)", log.read_text())) and process.poll() is None:
        time.sleep(0.05)
    asyncio.run(answered_after_ms(found[0]))
    yield psutil.Process(process.pid), found[0]
    process.terminate()
    assert process.wait(10) == 0
    assert len(log.read_text().splitlines()) == 3, log.read_text()


def metric(url, name):
    with urlopen(url.replace("ws", "http", 1) + "/metrics") as answer:
        return float(re.search(rf"^{re.escape(name)} (\S+)$", answer.read().decode(), re.MULTILINE)[1])


async def unharmed(url, abuse):
    """Runs an abuse beside conversations that are answered as ever; at least two of them."""
    task, answered = asyncio.create_task(abuse), []
    while not task.done() or len(answered) < 2:
        answered.append(await answered_after_ms(url))
    assert all(DELAY_MS - 20 <= ms <= DELAY_MS + 150 for ms in answered), answered
    return await task


def test_a_thousand_sockets_are_refused(server):
    process, url = server
    refused = metric(url, 'fobench_connections_refused_total{reason="sessions"}')

    async def knock():
        try:
            async with websockets.connect(f"{url}/pcm") as socket:
                await asyncio.sleep(1)
                return "talked" if socket.close_code is None else socket.close_code
        except websockets.InvalidStatus as error:
            return error.response.status_code

    async def crowd():
        return [outcome for _ in range(10) for outcome in await asyncio.gather(*(knock() for _ in range(100)))]

    async def both():
        return await crowd(), await answered_after_ms(url)

    outcomes, answered = asyncio.run(both())
    assert set(outcomes) <= {503, 1013, "talked"}
    assert 0 < outcomes.count("talked") <= 10 * SESSIONS
    assert metric(url, 'fobench_connections_refused_total{reason="sessions"}') == refused + 1000 - outcomes.count(
        "talked"
    )
    assert answered <= DELAY_MS + 150
    assert process.num_fds() < 60


def test_a_thousand_silent_connections(server):
    """More than the server has file descriptors: most are cut off, those that go on to ask for nothing are closed later."""
    process, url = server
    port = int(url.rsplit(":", 1)[1])

    async def one():
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /pcm HTTP/1.1\r\n")
            await reader.read()
            writer.close()

    async def crowd():
        conversation = asyncio.create_task(_held(url))
        await asyncio.sleep(0.3)
        await asyncio.wait([asyncio.create_task(one()) for _ in range(1000)], timeout=3)
        return await conversation

    pings = asyncio.run(crowd())
    assert max(pings) < 0.3, max(pings)
    assert asyncio.run(answered_after_ms(url)) <= DELAY_MS + 150
    assert process.num_fds() < FILES / 2


async def _held(url):
    """How long, in seconds, the answers to pings take in a conversation that was there before the crowd."""
    gaps = []
    async with websockets.connect(f"{url}/pcm") as socket:
        for _ in range(60):
            start = asyncio.get_running_loop().time()
            await (await socket.ping())
            gaps.append(asyncio.get_running_loop().time() - start)
            await asyncio.sleep(0.05)
    return gaps


def test_memory_stays_bounded(server):
    process, url = server
    before = process.memory_info().rss

    def flood(path, data, times):
        with contextlib.suppress(OSError), handshake(url, path) as socket:
            for _ in range(times):
                socket.sendall(data)

    async def abuse():
        for _ in range(5):
            await asyncio.to_thread(flood, "/pcm", frame(bytes(64_000), binary=True), 200)
            await asyncio.to_thread(flood, "/v1/realtime", frame(b'{"type":' * 8_000), 200)
            await asyncio.to_thread(flood, "/v1/realtime", long_frame(100_000_000) + bytes(1_000_000), 1)

    asyncio.run(unharmed(url, abuse()))
    grown = process.memory_info().rss - before
    print(f"memory grew by {grown / (1 << 20):.0f} MiB")
    assert grown < GROWTH, f"{grown >> 20} MiB"
    assert waited(lambda: metric(url, "fobench_sessions") == 0)
