"""The thread of one session: what waits for the system is counted to the sample, whoever hands it in."""

import asyncio
import threading
import time

import numpy as np
import pytest

from fobench.server import live_runner
from fobench.server.counters import Counters
from fobench.server.live_runner import LiveRunner
from fobench.server.pcm_call import PcmCall
from tests.support.live.bare_socket import waited
from tests.support.live.by_hand import scripted

RATE = 16_000


@pytest.fixture
def runner():
    started = []

    def start(system):
        runner = LiveRunner(system, 0, lambda event: None, lambda: None)
        runner.start()
        started.append(runner)
        return runner

    yield start
    for each in started:
        each.close()


class SlowlyCounted(np.ndarray):
    """Samples that take a while to be counted: a thread may be held up anywhere."""

    def __len__(self):
        time.sleep(0.005)
        return super().__len__()


def test_silence_that_fills_gaps_is_counted_beside_what_is_handed_in(runner, monkeypatch):
    """Both are added at the same time, by two threads: no sample of either may be lost."""
    monkeypatch.setattr(live_runner, "PATIENCE_S", 1e-3)
    session = runner(scripted())
    for _ in range(30):
        assert session.push(np.zeros(3, np.float32).view(SlowlyCounted))
    assert waited(lambda: session._audio.empty())
    session.close()
    assert waited(lambda: not session.is_working())
    waiting = session._queued + session._silence - session._taken
    assert waiting == len(session._rest)


def test_audio_that_the_system_works_on_waits_until_it_is_heard(runner):
    system, go_on = scripted(), threading.Event()
    system.open = blocked(system.open, go_on)
    session = runner(system)
    assert session.push(np.zeros(RATE, np.float32), most_s=1.0)
    assert waited(lambda: session._audio.empty())  # it was taken out of the queue, and is not heard yet
    assert not session.push(np.zeros(RATE, np.float32), most_s=1.5)
    go_on.set()
    assert waited(lambda: session._taken == RATE)
    assert session.push(np.zeros(RATE, np.float32), most_s=1.5)


def test_a_step_that_ends_after_the_server_is_no_error():
    system, go_on, errors = scripted(), threading.Event(), []
    system.open = blocked(system.open, go_on)

    async def begin():
        call = PcmCall(system, 0, asyncio.get_running_loop(), Counters())
        call.begin()
        await call.take(bytes(RATE))
        call.end()
        return call

    before, threading.excepthook = threading.excepthook, errors.append
    try:
        call = asyncio.run(begin())
        go_on.set()
        assert waited(lambda: not call.is_working())
    finally:
        threading.excepthook = before
    assert errors == []


def blocked(open_session, go_on):
    def opened(seed):
        session = open_session(seed)
        push = session.push
        session.push = lambda chunk: (go_on.wait(10), push(chunk))[1]
        return session

    return opened
