"""Async plugins: an echo of the microphone, and every way to end."""

import asyncio
import time

import numpy as np
import pytest

from fobench.api import live
from fobench.api.live import LiveSystem
from fobench.api.types import AudioChunk, Event, EventKind
from fobench.errors import FobenchError, SystemFailure

CHUNK = AudioChunk(np.full(320, 0.1, np.float32), 16_000)


class Echo(LiveSystem):
    output_rate_hz = 16_000

    async def converse(self, call):
        async for chunk in call.microphone():
            await asyncio.sleep(0.002)
            call.emit(Event(EventKind.AUDIO, {"audio": chunk, "reply": 0}))


def pushed(session, count=1, wait_s=0.02):
    events = []
    for _ in range(count):
        list(session.push(CHUNK))
        time.sleep(wait_s)
    events += session.push(CHUNK)
    return events


def test_audio_comes_back_with_the_time_at_which_it_came():
    with Echo().open(0) as session:
        before = time.perf_counter_ns()
        (event,) = pushed(session, wait_s=0.3)
        assert np.array_equal(event.data["audio"].samples, CHUNK.samples)
        assert before < event.compute_ns < time.perf_counter_ns() - 10_000_000
        assert len(list(session.finish())) == 1


def test_sessions_are_apart():
    system = Echo()
    with system.open(0) as first, system.open(0) as second:
        assert len(pushed(first)) == 1
        assert list(second.push(CHUNK)) == []


class Ending(LiveSystem):
    def __init__(self, end, ready=True):
        self.end, self.ready = end, ready

    async def converse(self, call):
        if self.ready:
            async for _ in call.microphone():
                break
        self.end()


def fails():
    raise ValueError("no such voice")


def refuses():
    raise FobenchError("set the key")


@pytest.mark.parametrize(
    ("end", "error", "message"),
    [
        (fails, SystemFailure, "ValueError: no such voice"),
        (refuses, FobenchError, "set the key"),
        (lambda: None, SystemFailure, "ended the conversation"),
    ],
)
@pytest.mark.parametrize("ready", [True, False])
def test_an_end_before_the_end_is_told(end, error, message, ready):
    with pytest.raises(error, match=message), Ending(end, ready).open(0) as session:
        pushed(session)


def test_one_that_does_not_begin_is_told(monkeypatch):
    class Slow(LiveSystem):
        async def converse(self, call):
            await asyncio.sleep(60)

    monkeypatch.setattr(live, "READY_S", 0.05)
    with pytest.raises(SystemFailure, match="did not begin"):
        Slow().open(0).__enter__()


def test_a_flood_of_events_ends_it(monkeypatch):
    class Flood(LiveSystem):
        async def converse(self, call):
            async for _ in call.microphone():
                while True:
                    call.emit(Event(EventKind.BUSY))

    monkeypatch.setattr(live, "MOST_WAITING", 50)
    with Flood().open(0) as session, pytest.raises(SystemFailure, match="more than 50 events"):
        for _ in range(2):  # on a busy machine the first chunk is not answered before the flood
            list(session.push(CHUNK))
            time.sleep(0.05)
