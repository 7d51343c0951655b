"""Answers by text that take long: they outlive neither their session nor the server, and there are no more than it allows."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
import websockets

from fobench.server import background
from fobench.server.background import TextAnswers, in_thread
from fobench.server.counters import Counters
from fobench.server.realtime_call import RealtimeCall
from tests.support.live.bare_socket import waited
from tests.support.live.by_hand import exchange, scripted
from tests.support.live.served import served

CREATE = {"type": "response.create"}
TYPED = {
    "type": "conversation.item.create",
    "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Which city?"}]},
}


@pytest.fixture
def slow():
    """A system whose answers wait: (system, event that lets them go on)."""
    system, go_on = scripted(), threading.Event()
    system.answer = lambda history, seed: go_on.wait(20) and "It is Paris."
    yield system, go_on
    go_on.set()


def test_the_end_of_a_session_drops_its_answer(slow):
    system, go_on = slow

    async def talk():
        call = RealtimeCall(system, 0, asyncio.get_running_loop(), Counters())
        for event in (TYPED, CREATE):
            await call.take(json.dumps(event))
        call.end()
        go_on.set()
        await asyncio.sleep(0.2)
        sent = []
        while not call.outgoing.is_empty():
            sent.append(json.loads(await call.outgoing.get())["type"])
        return sent

    sent = asyncio.run(talk())
    assert sent[-1] == "response.created"


def test_clients_that_leave_do_not_pile_up_answers(slow):
    system, go_on = slow
    with served(system, sessions=2) as (url, _):
        for _ in range(2):
            exchange(url, TYPED, CREATE, until="response.created")
        received = exchange(url, TYPED, CREATE, until="error")
        refused = received[-1]["error"]
        assert "response.created" not in {event["type"] for event in received}
        assert refused["code"] == "too_many_answers"
        assert "works on 2 answers by text, as many as it may (--sessions)" in refused["message"]
        go_on.set()
        assert waited(lambda: not any("background" in thread.name for thread in threading.enumerate()))
        assert exchange(url, TYPED, CREATE, until="response.done")[-1]["response"]["status"] == "completed"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda history, seed: 1 // 0, "ZeroDivisionError"),
        (lambda history, seed: next(iter(())), "StopIteration"),
        (lambda history, seed: sys.exit(3), "SystemExit"),
        (lambda history, seed: 5, "the system answers by int, not by text"),
    ],
)
def test_an_answer_that_fails_is_a_response_that_failed(answer, reason):
    system = scripted()
    system.answer = answer
    with served(system) as (url, server):
        done = exchange(url, TYPED, CREATE, until="response.done")[-1]["response"]
        assert done["status"] == "failed"
        assert reason in done["status_details"]["reason"]
        assert exchange(url, until="session.created")  # others go on
    assert server.counters.failed == 0


def test_a_loop_that_has_ended_is_no_error_of_the_work(slow):
    system, go_on = slow
    answers = TextAnswers(1)

    async def begin():
        answers.begin(system, [], 0)

    asyncio.run(begin())
    with pytest.raises(background.TooManyAnswers):
        asyncio.run(begin())
    go_on.set()
    assert waited(lambda: answers._unfinished == 0)
    assert asyncio.run(resolved(lambda: "done")) == "done"


async def resolved(work):
    return await in_thread(work)


SERVER = """
import asyncio, sys, time
from fobench.api import registry
from fobench.server import app
app.GRACE_S = 0.3
system = registry.create("systems", "scripted:late", {})
system.answer = lambda history, seed: time.sleep(60) or "late"
asyncio.run(app.Server(system, "test", port=0).run(lambda url: print(url, flush=True)))
"""


@pytest.mark.subprocess
def test_a_server_that_is_stopped_does_not_wait_for_an_answer():
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        url = re.search(r"http(\S+)", process.stdout.readline())[1]

        async def stop():
            async with websockets.connect(f"ws{url}/v1/realtime") as socket:
                for event in (TYPED, CREATE):
                    await socket.send(json.dumps(event))
                async for message in socket:
                    if json.loads(message)["type"] == "response.created":
                        process.send_signal(signal.SIGTERM)
                return socket.close_code

        assert asyncio.run(stop()) == 1001
        start = time.monotonic()
        assert process.wait(20) == 0
        assert time.monotonic() - start < 10
    finally:
        process.kill()
        process.communicate()
