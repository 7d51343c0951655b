"""A server's life: it warms up, tells its health and its counters, and ends gracefully."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import websockets

from fobench.api.scenario import Scenario
from fobench.api.types import NS_PER_S
from fobench.server.admission import PATHS, PCM_PATH
from fobench.server.app import Limits, Server
from fobench.server.counters import DROPPED, REFUSED, Counters, Histogram
from fobench.server.live_runner import WorkTimes
from fobench.server.session_config import RATES_HZ
from tests.support.live.by_hand import exchange, scripted, silence, tone
from tests.support.live.played import question
from tests.support.live.served import served

SLOW_S = 0.6


class SlowAtFirst:
    """A scripted system whose first step of all takes `SLOW_S`, as a model's may."""

    def __init__(self, scripted):
        self._scripted = scripted
        self.input_rate_hz, self.output_rate_hz, self.chunk = scripted.input_rate_hz, scripted.output_rate_hz, 320
        self.opened = []

    def open(self, seed):
        self.opened.append(seed)
        session = self._scripted.open(seed)
        if len(self.opened) == 1:
            push, slow = session.push, iter((SLOW_S,))
            session.push = lambda chunk: (time.sleep(next(slow, 0)), push(chunk))[1]
        return session


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def health(url):
    try:
        with urlopen(url.replace("ws", "http", 1) + "/health") as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        return error.code, error.read()


def test_the_server_is_ready_when_it_is_warm(tmp_path):
    system = SlowAtFirst(scripted(delay_ms=200, reply_ms=300))
    rehearsal = Scenario("s", "t", 0, (question(tmp_path),), patience_ns=NS_PER_S)
    server, url = Server(system, "test", port=free_port(), rehearsal=rehearsal, limits=Limits()), ""

    async def live():
        ready = asyncio.Event()
        task = asyncio.create_task(server.run(lambda url: ready.set()))
        await asyncio.sleep(SLOW_S / 3)
        starting = await asyncio.to_thread(health, url)
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(f"{url}/v1/realtime")
        assert not ready.is_set()
        await asyncio.wait_for(ready.wait(), 10)
        assert await asyncio.to_thread(health, url) == (200, b"ok\n")
        begun = list(system.opened)
        await (await websockets.connect(f"{url}/v1/realtime")).close()
        task.cancel()
        return starting, refused.value.response, begun

    url = f"ws://127.0.0.1:{server.port}"
    starting, refused, begun = asyncio.run(live())
    assert starting == (503, b"starting\n")
    assert (refused.status_code, refused.body) == (503, b"The server is warming up. Try again in a moment.\n")
    assert refused.headers["Retry-After"] == "5"
    assert begun == [0]  # the rehearsal, and nothing of a client


def test_a_warm_up_that_fails_is_told_and_the_server_goes_on(tmp_path, caplog):
    rehearsal = Scenario("s", "t", 0, (question(tmp_path),), patience_ns=NS_PER_S)
    with served(scripted("raises", at_scenario=0, at_chunk=3), rehearsal=rehearsal) as (url, _):
        assert exchange(url, {"type": "session.update", "session": {}}, until="session.updated")
    assert "raised at chunk 3" in caplog.text


def test_a_session_at_work_when_the_server_ends_does_no_harm(monkeypatch):
    failures = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    with served(SlowAtFirst(scripted())) as (url, _):
        exchange(url, silence(100), {"type": "session.update", "session": {}}, until="session.updated")
        (session,) = (thread for thread in threading.enumerate() if thread.name == "fobench-session")
    assert session.is_alive()
    session.join(5)
    assert not session.is_alive()
    assert failures == []


# ---- counters ------------------------------------------------------------------------------------------------------------


def values(text):
    """{name with labels: value} of the text format of Prometheus; every line must be one of it."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = [re.fullmatch(r'([a-z_]+(?:\{[a-z]+="[^"]+"\})?) ([-+.e0-9]+)', line) for line in lines]
    assert all(found), lines
    return {match[1]: float(match[2]) for match in found}


def test_counters_of_sessions_that_are_open_and_that_have_ended():
    with served(scripted(delay_ms=200, reply_ms=300, pace="at_once")) as (url, _):
        exchange(url, silence(100), tone(400), silence(400), until="response.done")
        with urlopen(url.replace("ws", "http", 1) + "/metrics") as answer:
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            found = values(answer.read().decode())
    assert found["fobench_sessions_opened_total"] == found["fobench_replies_total"] == 1
    assert found["fobench_response_seconds_count"] == found["fobench_first_audio_seconds_count"] == 1
    assert found["fobench_heard_seconds_total"] == pytest.approx(0.9, abs=0.5)
    assert found["fobench_spoken_seconds_total"] == pytest.approx(0.3, abs=0.03)
    assert found["fobench_work_seconds_total"] > 0
    assert {f'fobench_connections_refused_total{{reason="{reason}"}}' for reason in REFUSED} <= found.keys()
    assert {f'fobench_sessions_dropped_total{{reason="{reason}"}}' for reason in DROPPED} <= found.keys()


def test_the_documentation_names_every_metric_reason_and_option():
    text = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()
    names = re.findall(r"# TYPE (\S+)", Counters().text())
    options = {"--sessions", "--minutes", "--idle", "--api-key-env", "--origin", "--host", "--port", "--no-warm-up"}
    missing = [
        name for name in (*names, *REFUSED, *DROPPED, *options) if f"`{name}" not in text and name not in options
    ]
    assert missing == []
    assert all(option in text for option in options)
    assert all(str(rate) in text for rate in RATES_HZ)
    assert all(path in text for path in (*PATHS, PCM_PATH))


def test_a_histogram_counts_up_to_each_bound():
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(value)
    assert values("\n".join(histogram.lines("h"))) == {
        'h_bucket{le="0.1"}': 2,
        'h_bucket{le="1"}': 3,
        'h_bucket{le="+Inf"}': 4,
        "h_sum": 7.65,
        "h_count": 4,
    }


def test_open_sessions_count_beside_those_that_have_ended():
    counters = Counters(running=lambda: [(2_000_000_000, 4_000_000_000, 0)])
    counters.ended(WorkTimes(busy_ns=1_000_000_000, audio_ns=10_000_000_000, spoken_ns=500_000_000))
    found = values(counters.text())
    assert found["fobench_work_seconds_total"] == 3
    assert found["fobench_heard_seconds_total"] == 14
    assert found["fobench_spoken_seconds_total"] == 0.5
    assert found["fobench_session_rtf_sum"] == 0.1


# ---- the end -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def command():
    """`fobench serve` with a scripted system whose reply lasts `reply_ms`: (process, address)."""
    begun = []

    def begin(reply_ms):
        arguments = ["serve", "--system", "scripted:late", "--port", "0", "--no-warm-up"]
        arguments += ["--system-args", "delay_ms=200", "--system-args", f"reply_ms={reply_ms}"]
        process = subprocess.Popen(
            [sys.executable, "-m", "fobench", *arguments], stderr=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        begun.append(process)
        for line in process.stderr:
            if found := re.search(r"ws://\S+?(?=/v1)", line):
                return process, found[0]
        raise AssertionError("it did not begin")

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


async def ended(url, process, signals):
    """Stops the server in a reply; returns the loud ms of it, the closing frame, and how a new connection fares meanwhile."""
    sound, refused = b"", None
    async with websockets.connect(f"{url}/pcm") as talking, websockets.connect(f"{url}/pcm") as idle:
        await talking.send(bytes(3200) + b"\x00\x30" * 6400 + bytes(19_200))
        try:
            async for message in talking:
                if isinstance(message, bytes):
                    sound += message
                    if refused is None:
                        process.send_signal(signal.SIGTERM)
                        await idle.wait_closed()  # it does not reply: it ends at once
                        try:
                            await websockets.connect(f"{url}/pcm")
                        except websockets.InvalidStatus as error:
                            refused = error.response
                        for number in signals:
                            process.send_signal(number)
        except websockets.ConnectionClosed:
            pass
        return len(sound) / 32, talking.close_code, idle.close_code, refused


@pytest.mark.subprocess
def test_a_reply_may_end_when_the_server_is_stopped(command):
    process, url = command(800)
    sound_ms, code, idle_code, refused = asyncio.run(ended(url, process, ()))
    assert process.wait(10) == 0
    assert sound_ms >= 800
    assert (code, idle_code) == (1001, 1001)
    assert (refused.status_code, refused.body) == (503, b"The server is being stopped.\n")


@pytest.mark.subprocess
def test_a_second_signal_cuts_it_short(command):
    process, url = command(60_000)
    start = time.monotonic()
    sound_ms, code, _, _ = asyncio.run(ended(url, process, (signal.SIGINT,)))
    assert process.wait(10) == 0
    assert sound_ms < 5000
    assert code == 1001
    assert time.monotonic() - start < 4
