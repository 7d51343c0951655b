"""What a client of the Realtime protocol makes of a server's events, and what it tells the server: without a connection."""

import asyncio
import base64

import pytest

from fobench.api.live import LiveCall
from fobench.api.types import Action, EventKind
from fobench.audio.wire_format import AudioFormat
from fobench.errors import SystemFailure
from fobench_plugins.systems.realtime.conversation import ACTIVE, Conversation
from fobench_plugins.systems.realtime.dialects import DUPLEX, Dialect, SessionRequest
from tests.support.live.socket_server import RATE_HZ, tone

PCM = AudioFormat("pcm16", RATE_HZ)
GA = Dialect()
STARTED, STOPPED = {"type": "input_audio_buffer.speech_started"}, {"type": "input_audio_buffer.speech_stopped"}


class Talk:
    """A conversation, the events that it emits, and those that it sends."""

    def __init__(self, dialect=GA):
        self.call, self.sent = LiveCall(0), []
        self.conversation = Conversation(SessionRequest(PCM, PCM), self.call, self.send, dialect)

    async def send(self, event):
        self.sent.append(event)

    def take(self, *events):
        for event in events:
            asyncio.run(self.conversation.take(event))
        return self

    def hear(self, reply, ms):
        self.call.heard = (reply, ms * RATE_HZ // 1000)

    def decided(self):
        return [event.data["action"] for event in self.call._events if event.kind == EventKind.DECISION]

    def told(self, kind):
        return [event for event in self.sent if event["type"] == kind]


def created(name):
    return {"type": "response.created", "response": {"id": name, "status": "in_progress"}}


def piece(name, ms=1000):
    data = base64.b64encode(tone(ms)).decode()
    return {"type": "response.output_audio.delta", "response_id": name, "item_id": f"i-{name}", "delta": data}


def done(name, status="completed"):
    return {"type": "response.done", "response": {"id": name, "status": status}}


def test_speech_after_a_reply_that_was_heard_whole_interrupts_nothing():
    talk = Talk().take(created("a"), piece("a"), done("a"))
    talk.hear(0, 1000)
    talk.take(STARTED, STOPPED)
    assert talk.decided() == [Action.SPEAK]
    assert talk.sent == []


@pytest.mark.parametrize("generated", [False, True])
def test_speech_over_what_is_not_heard_yet_stops_it_and_tells_how_much_was_heard(generated):
    talk = Talk().take(created("a"), piece("a"), *[done("a")] * generated)
    talk.hear(0, 400)
    talk.take(STARTED, piece("a"), STARTED)
    assert talk.decided() == [Action.SPEAK, Action.YIELD]
    (truncated,) = talk.sent
    assert (truncated["item_id"], truncated["audio_end_ms"]) == ("i-a", 400)
    audio = [event.data["audio"] for event in talk.call._events if event.kind == EventKind.AUDIO]
    assert sum(len(each.samples) for each in audio) == RATE_HZ  # what came after the stop is no part of it


def test_of_a_reply_that_waits_behind_another_nothing_was_heard():
    talk = Talk().take(created("a"), piece("a"), done("a"), created("b"), piece("b"))
    talk.hear(0, 900)
    talk.take(STARTED)
    (truncated,) = talk.sent
    assert (truncated["item_id"], truncated["audio_end_ms"]) == ("i-b", 0)


def test_a_client_cancels_also_what_it_has_asked_for_and_what_has_not_begun():
    talk = Talk()
    asyncio.run(talk.conversation.ask())
    asyncio.run(talk.conversation.interrupt(cancel=True))
    assert [event["type"] for event in talk.sent][-1] == "response.cancel"
    talk.take(created("a"), done("a", "cancelled"))
    asyncio.run(talk.conversation.interrupt(cancel=True))
    assert len(talk.told("response.cancel")) == 1  # nothing is asked for any more


def test_what_a_server_refuses_of_ours_as_too_late_is_a_note():
    talk = Talk().take(created("a"), piece("a"), STARTED)
    refused = {"event_id": talk.sent[0]["event_id"], "code": "too_late"}
    talk.take({"type": "error", "error": refused}, {"type": "error", "error": {"code": ACTIVE}})
    notes = [event.data["text"] for event in talk.call._events if event.data.get("work") == "server_error"]
    assert notes == ["too_late", ACTIVE]
    with pytest.raises(SystemFailure, match="too_late"):
        talk.take({"type": "error", "error": {**refused, "event_id": "another"}})


def test_full_duplex_is_told_every_100_ms_what_is_played():
    talk = Talk(DUPLEX).take(created("a"), piece("a"))
    for ms in (0, 50, 100, 120, 199, 210, 500):
        talk.hear(0, ms)
        asyncio.run(talk.conversation.append(""))
    assert [event["played_ms"] for event in talk.told("playback.ack")] == [100, 210, 500]


def test_the_end_without_another_sign_stops_a_reply_that_is_cancelled():
    talk = Talk().take(created("a"), piece("a"))
    talk.hear(0, 300)
    talk.take(done("a", "cancelled"))
    assert talk.decided() == [Action.SPEAK, Action.YIELD]
    assert talk.told("conversation.item.truncate")[0]["audio_end_ms"] == 300
