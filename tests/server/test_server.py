"""The server, with scripted systems of known timing: by our own client, and by hand."""

import asyncio
import base64
import json
from concurrent.futures import ThreadPoolExecutor
from urllib.request import urlopen

import pytest
import websockets

from fobench.api import registry
from fobench.api.scenario import Anchor
from fobench.api.types import Action, Event, EventKind
from fobench_plugins.systems.scripted.systems import Silent
from tests.support.live.bare_socket import waited
from tests.support.live.by_hand import exchange, scripted, silence, tone
from tests.support.live.played import MS, driver, play, play_undelayed, question, response_ms
from tests.support.live.served import served

pytestmark = pytest.mark.usefixtures("short_tail")


@pytest.mark.parametrize(
    "options",
    [{}, pytest.param({"rate_hz": 16_000, "output_rate_hz": 16_000}, marks=pytest.mark.slow), {"audio": "g711_ulaw"}],
    ids=str,
)
def test_a_planted_delay_is_recovered(tmp_path, options):
    with served(scripted(delay_ms=300, reply_ms=400)) as (url, server):
        trace = play_undelayed(driver(f"realtime:{url}", **options), [question(tmp_path)], 300)
    assert trace.failure is None
    assert trace.transcripts() == ("Which city?",)
    (reply,) = trace.replies
    assert reply.text.strip() == "It is Paris."
    assert reply.heard_ns == pytest.approx(400 * MS, abs=2 * MS)
    assert response_ms(trace) == pytest.approx(300, abs=50)
    assert server.counters.replies == server.counters.opened


def test_an_interruption_is_answered_by_a_stop(tmp_path):
    with served(scripted("yields", delay_ms=300, answer_ms=300, reply_ms=900)) as (url, server):
        interruption = question(tmp_path, role="interrupt", anchor=Anchor("reply_audible", 300 * MS))
        trace = play(driver(f"realtime:{url}"), question(tmp_path), interruption)
    assert trace.failure is None
    first, second = trace.replies
    stopped_after = (first.stopped_ns - trace.user[1].start_ns) / MS
    assert stopped_after == pytest.approx(300, abs=60)
    assert second.text.strip() == "It is Paris."
    assert server.counters.interruptions == 1


def test_a_sound_that_does_not_stop_the_reply_is_not_reported(tmp_path):
    with served(scripted("never-yields", delay_ms=300, reply_ms=800)) as (url, _):
        sound = question(tmp_path, role="backchannel", anchor=Anchor("reply_audible", 200 * MS))
        trace = play(driver(f"realtime:{url}"), question(tmp_path), sound)
    assert trace.replies[0].stopped_ns is None
    assert trace.replies[0].heard_ns == pytest.approx(800 * MS, abs=2 * MS)


def test_two_sessions_at_once_and_no_third(tmp_path):
    asked = question(tmp_path)
    with served(scripted(delay_ms=300, reply_ms=300), sessions=2) as (url, server):
        with ThreadPoolExecutor(2) as pool:
            traces = list(pool.map(lambda _: play(driver(f"realtime:{url}"), asked), range(2)))
        assert [trace.failure for trace in traces] == [None, None]
        assert server.counters.opened == 2

        async def crowd():
            async with websockets.connect(f"{url}/v1/realtime"), websockets.connect(f"{url}/v1/realtime"):
                with pytest.raises(websockets.InvalidStatus) as refused:
                    await websockets.connect(f"{url}/v1/realtime")
                return refused.value.response

        response = asyncio.run(crowd())
        assert response.status_code == 503
        assert b"2 sessions are in use" in response.body
        assert response.headers["Retry-After"] == "5"


def test_the_system_answers_by_text():
    with served(scripted()) as (url, _):
        system = registry.create("systems", f"realtime:{url}")
        assert system.answer([{"role": "user", "content": "Which city?"}], 0) == "It is Paris."


# ---- by hand -----------------------------------------------------------------------------------------------------------


def test_the_order_of_a_spoken_reply():
    with served(scripted(delay_ms=300, reply_ms=400, pace="at_once")) as (url, _):
        received = exchange(url, silence(100), tone(400), silence(600), until="response.done")
    kinds = [event["type"] for event in received]
    first_delta = kinds.index("response.output_audio.delta")
    order = [
        "session.created",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
    ]
    assert [k for k in kinds[:first_delta] if "delta" not in k and "transcription" not in k] == order
    assert [k for k in kinds[first_delta:] if "delta" not in k and "transcription" not in k] == [
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    assert len({event["event_id"] for event in received}) == len(received)
    done = received[-1]["response"]
    assert done["status"] == "completed"
    assert done["output"][0]["content"][0] == {"type": "output_audio", "transcript": "It is Paris. "}
    sound = b"".join(base64.b64decode(e["delta"]) for e in received if e["type"] == "response.output_audio.delta")
    assert len(sound) / 2 == pytest.approx(400 * 24, abs=2)


def test_a_session_of_text_alone_gets_no_audio():
    text = {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text"]}}
    with served(scripted(delay_ms=300, reply_ms=400, pace="at_once")) as (url, _):
        received = exchange(url, text, silence(100), tone(400), silence(600), until="response.done")
    kinds = {event["type"] for event in received}
    assert "response.output_text.done" in kinds
    assert not any("audio" in kind for kind in kinds if kind.startswith("response."))
    assert received[-1]["response"]["output"][0]["content"] == [{"type": "output_text", "text": "It is Paris. "}]


def test_turns_that_the_client_ends():
    manual = {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}}
    with served(scripted(delay_ms=300, reply_ms=400, pace="at_once")) as (url, _):
        commit = {"type": "input_audio_buffer.commit"}
        received = exchange(
            url, manual, silence(100), tone(400), commit, {"type": "response.create"}, until="response.done"
        )
        empty = exchange(url, manual, commit, until="error")
    kinds = [event["type"] for event in received]
    assert kinds.index("input_audio_buffer.committed") < kinds.index("response.created")
    assert received[-1]["response"]["status"] == "completed"
    assert empty[-1]["error"]["code"] == "input_audio_buffer_commit_empty"


class Telling:
    """A system whose session tells these events at its first chunk of audio."""

    input_rate_hz, output_rate_hz, chunk = 16_000, 24_000, 320

    def __init__(self, *events):
        self.events = events

    def open(self, seed):
        session = Silent().open(seed)
        rest = iter(self.events)
        session.push = lambda chunk: rest
        return session


def test_a_sound_that_gets_no_reply_begins_and_ends():
    ignored = Event(EventKind.SPEECH_START), Event(EventKind.DECISION, {"action": Action.IGNORE})
    with served(Telling(*ignored)) as (url, _):
        received = exchange(url, silence(100), until="input_audio_buffer.speech_stopped")
    started, stopped = received[-2:]
    assert started["type"] == "input_audio_buffer.speech_started"
    assert started["item_id"] == stopped["item_id"]


def test_a_spoken_reply_that_the_client_cancels_ends_there():
    async def talk(url):
        received = []
        async with websockets.connect(f"{url}/v1/realtime", max_queue=None) as socket, asyncio.timeout(8):
            for event in (silence(100), tone(400), silence(600)):
                await socket.send(json.dumps(event))
            async for message in socket:
                received.append(json.loads(message))
                done = [event["response"] for event in received if event["type"] == "response.done"]
                if received[-1]["type"] == "response.output_audio.delta" and not done:
                    for event in ({"type": "response.cancel"}, silence(1500), tone(400), silence(1500)):
                        await socket.send(json.dumps(event))
                if len(done) == 2:
                    break
        return received, done

    with served(scripted(delay_ms=300, reply_ms=800)) as (url, _):
        received, (first, second) = asyncio.run(talk(url))
    assert (first["status"], second["status"]) == ("cancelled", "completed")
    assert first["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert first["output"][0]["status"] == "incomplete"
    ids = [event["response_id"] for event in received if event["type"] == "response.output_audio.delta"]
    assert ids == sorted(ids) and set(ids) == {first["id"], second["id"]}


WRONG = {
    "not JSON": ("{", "invalid_json"),
    "binary": (b"\x00\x01", "invalid_event"),
    "no type": ({"a": 1}, "invalid_event"),
    "a list": ("[1]", "invalid_event"),
    "unknown": ({"type": "session.fly"}, "unknown_event"),
    "half a quantum": ({"type": "input_audio_buffer.append", "audio": "AAA"}, "invalid_audio"),
    "no audio": ({"type": "input_audio_buffer.append"}, "invalid_audio"),
    "a wrong rate": (
        {"type": "session.update", "session": {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 5}}}}},
        "invalid_value",
    ),
    "a wrong format": ({"type": "session.update", "session": {"input_audio_format": "mp3"}}, "invalid_value"),
    "a wrong detection": ({"type": "session.update", "session": {"turn_detection": {"type": "x"}}}, "invalid_value"),
    "no session": ({"type": "session.update"}, "invalid_value"),
    "nothing to cancel": ({"type": "response.cancel"}, "response_cancel_not_active"),
    "no such item": ({"type": "conversation.item.delete", "item_id": "x"}, "item_not_found"),
    "no item": ({"type": "conversation.item.create"}, "invalid_value"),
    "nothing to answer": ({"type": "response.create"}, "nothing_to_answer"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_followed_is_an_error_event(name):
    event, code = WRONG[name]
    if isinstance(event, dict):
        event = {**event, "event_id": "mine"}
    with served(scripted()) as (url, _):
        received = exchange(url, event, until="error")
        after = exchange(url, {"type": "session.update", "session": {}}, until="session.updated")  # others go on
    assert received[-1]["error"]["code"] == code
    assert received[-1]["error"]["event_id"] == ("mine" if isinstance(event, dict) else None)
    assert after[-1]["type"] == "session.updated"


def test_keys_and_origins():
    with served(scripted(), key="k1") as (url, server):
        with pytest.raises(websockets.InvalidStatus, match="401"):
            exchange(url, until="session.created")
        with pytest.raises(websockets.InvalidStatus, match="403"):
            exchange(url, until="session.created", headers={"Authorization": "Bearer k1", "Origin": "http://elsewhere"})
        assert exchange(url, until="session.created", headers={"Authorization": "Bearer k1"})
        assert server.counters.refused == {"key": 1, "origin": 1}
    with served(scripted()) as (url, _), pytest.raises(websockets.InvalidStatus, match="404"):
        exchange(url, until="session.created", path="/else")


@pytest.mark.parametrize(
    ("limits", "reason", "text"),
    [
        ({"idle_s": 0.3}, "idle", "nothing was received for 0.3 s"),
        ({"minutes": 0.005}, "too_long", "a session may last 0.005 minutes"),
    ],
)
def test_limits_end_a_session_with_a_reason(limits, reason, text):
    with served(scripted(), **limits) as (url, server):

        async def wait():
            async with websockets.connect(f"{url}/v1/realtime") as socket:
                with pytest.raises(websockets.ConnectionClosed) as closed:
                    while True:
                        await asyncio.wait_for(socket.recv(), 5)
                return closed.value.rcvd

        frame = asyncio.run(wait())
        assert frame.code == 1008
        assert text in frame.reason
        assert server.counters.dropped == {reason: 1}
        assert waited(lambda: server.counters.sessions == 0)


def test_a_system_that_fails_ends_its_session_alone(tmp_path):
    with served(scripted("raises", at_seed=0, at_chunk=10, delay_ms=200, reply_ms=200)) as (url, server):
        first = play(driver(f"realtime:{url}"), question(tmp_path))
        second = play(driver(f"realtime:{url}"), question(tmp_path))
    assert "raised at chunk 10" in first.failure.message
    assert second.failure is None
    assert server.counters.failed == 1


def test_pages_over_http():
    with served(scripted()) as (url, _):
        http = url.replace("ws", "http")
        assert urlopen(f"{http}/health").read() == b"ok\n"
        text = urlopen(f"{http}/metrics").read().decode()
    assert "fobench_sessions 0" in text
    assert 'fobench_first_audio_seconds_bucket{le="+Inf"} 0' in text
