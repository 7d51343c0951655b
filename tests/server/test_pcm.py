"""Raw audio: the server's /pcm, by our own client and by hand."""

import asyncio
import json

import numpy as np
import pytest
import websockets

from fobench.api.scenario import Anchor
from tests.support.live.by_hand import exchange, scripted, wave
from tests.support.live.played import MS, driver, play, play_undelayed, question, response_ms
from tests.support.live.served import served

pytestmark = pytest.mark.usefixtures("short_tail")


@pytest.mark.parametrize(
    ("rate", "output_rate"), [(16_000, 24_000), pytest.param(8_000, 8_000, marks=pytest.mark.slow)]
)
def test_a_planted_delay_is_recovered(tmp_path, rate, output_rate):
    with served(scripted(delay_ms=300, reply_ms=300)) as (url, server):
        address = f"websocket:{url}/pcm?rate={rate}&output_rate={output_rate}"
        driven = driver(address, rate_hz=rate, output_rate_hz=output_rate)
        trace = play_undelayed(driven, [question(tmp_path)], 300)
    assert trace.failure is None
    assert trace.transcripts() == ("Which city?",)
    (reply,) = trace.replies
    assert reply.text.strip() == "It is Paris."
    assert reply.heard_ns == pytest.approx(300 * MS, abs=2 * MS)
    assert response_ms(trace) == pytest.approx(300, abs=50)
    served_s = server.counters.response.total / server.counters.opened
    assert served_s == pytest.approx(0.3 - 0.06, abs=0.05 * server.counters.opened)  # after the system's hangover


@pytest.mark.parametrize("pace", [pytest.param("realtime", marks=pytest.mark.slow), "at_once"])
def test_an_interruption_clears_what_is_not_played(tmp_path, pace):
    options = {"delay_ms": 300, "answer_ms": 300, "reply_ms": 800, "pace": pace}
    with served(scripted("yields", **options)) as (url, server):
        interruption = question(tmp_path, role="interrupt", anchor=Anchor("reply_audible", 300 * MS))
        driven = driver(f"websocket:{url}/pcm?output_rate=24000", output_rate_hz=24_000)
        trace = play(driven, question(tmp_path), interruption)
    first, second = trace.replies
    assert (first.stopped_ns - trace.user[1].start_ns) / MS == pytest.approx(300, abs=60)
    assert second.text.strip() == "It is Paris."
    assert server.counters.interruptions == 1
    assert server.counters.stop.total == pytest.approx(0.3, abs=0.06)


def test_the_order_of_messages():
    async def talk(url):
        async with websockets.connect(f"{url}/pcm") as socket, asyncio.timeout(8):
            await socket.send('{"type": "start", "sample_rate": 16000}')  # as some clients do
            await socket.send(bytes(3200) + wave(400, 16_000) + bytes(19_200))
            messages = []
            async for message in socket:
                messages.append(message if isinstance(message, bytes) else json.loads(message))
                if messages[-1] == {"type": "end"}:
                    break
            return messages

    with served(scripted(delay_ms=300, reply_ms=400, pace="at_once")) as (url, _):
        messages = asyncio.run(talk(url))
    texts = [message for message in messages if not isinstance(message, bytes)]
    assert texts[0] == {"type": "transcript", "role": "user", "text": "Which city?", "final": True}
    pieces = [text for text in texts if text.get("role") == "agent"]
    assert "".join(piece["text"] for piece in pieces if not piece["final"]).strip() == "It is Paris."
    assert pieces[-1] == {"type": "transcript", "role": "agent", "text": "It is Paris.", "final": True}
    samples = np.frombuffer(b"".join(message for message in messages if isinstance(message, bytes)), "<i2")
    loud = np.flatnonzero(np.abs(samples) > 1000)
    assert (loud[-1] - loud[0]) / 16 == pytest.approx(400, abs=2)  # ms at 16 kHz


def test_what_cannot_be_followed_is_an_error_message(tmp_path):
    with served(scripted(delay_ms=300, reply_ms=300), key="k1") as (url, server):
        key = {"Authorization": "Bearer k1"}
        for sent, code in ((bytes(3), "invalid_audio"), ("{", "invalid_json")):
            answer = exchange(url, sent, until="error", path="/pcm", headers=key)[-1]
            assert answer["code"] == code
        with pytest.raises(websockets.InvalidStatus) as refused:
            exchange(url, until="error", path="/pcm?rate=5", headers=key)
        assert b"give one of 8000, 16000, 24000, 48000" in refused.value.response.body
        with pytest.raises(websockets.InvalidStatus, match="401"):
            exchange(url, until="error", path="/pcm")
        assert server.counters.refused == {"rate": 1, "key": 1}


def test_a_system_that_fails_says_so():
    with served(scripted("raises", at_chunk=2)) as (url, _):
        answer = exchange(url, bytes(6400), until="error", path="/pcm")[-1]
    assert answer["code"] == "system_failed"
    assert "raised at chunk 2" in answer["message"]
