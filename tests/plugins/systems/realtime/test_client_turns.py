"""A client that takes the turns itself (turn_detection=none), against a script and against our own server."""

import base64

import pytest

from fobench.api import registry
from fobench.api.scenario import Anchor
from fobench.api.types import Action, EventKind
from fobench.assets import store
from tests.support.live.played import MS, decided, driver, play, question
from tests.support.live.served import served
from tests.support.live.socket_server import following

pytestmark = pytest.mark.usefixtures("short_tail")
BY_CLIENT = {"turn_detection": "none", "vad": "loudness"}


def times(trace, kind):
    return [event.compute_ns / MS for event in trace.of(kind)]


async def answers_when_asked(socket):
    """Replies to each response.create: 2 s of audio at once the first time, then 200 ms. It ends what is cancelled."""
    await socket.greet()
    for number in range(9):
        await socket.next("response.create")
        await socket.begin_reply(2 if number else 20, f"r{number}")
        if number:
            await socket.end_reply(name=f"r{number}")
        else:
            await socket.next("response.cancel")
            await socket.end_reply("cancelled", name="r0")


async def answers_once_when_asked(socket):
    await socket.greet()
    await socket.next("response.create")
    await socket.begin_reply(2)
    await socket.end_reply()
    await socket.listen()


def test_a_turn_is_sent_committed_and_answered(tmp_path):
    with following(answers_once_when_asked) as (url, received):
        trace = play(driver(f"realtime:{url}", **BY_CLIENT, silence_ms=320), question(tmp_path))
    assert trace.failure is None
    assert trace.replies[0].heard_ns == 200 * MS
    user_end_ms = trace.user[0].end_ns / MS
    assert times(trace, EventKind.SPEECH_START)[0] == pytest.approx(trace.user[0].start_ns / MS + 96, abs=60)
    assert times(trace, EventKind.SPEECH_END)[0] == pytest.approx(user_end_ms + 320, abs=60)
    assert trace.replies[0].audible_start_ns / MS == pytest.approx(user_end_ms + 320, abs=80)
    assert received[0]["session"]["audio"]["input"]["turn_detection"] is None
    kinds = [event["type"].rpartition(".")[2] for event in received[1:]]
    assert kinds[-2:] == ["commit", "create"]
    assert set(kinds[:-2]) == {"append"}
    sent_ms = sum(len(base64.b64decode(event["audio"])) for event in received[1:-2]) / 48
    assert sent_ms == pytest.approx(300 + 400 + 320, abs=130)  # the pre-roll, the question, the silence that ends it


def test_an_interruption_cancels_the_reply_and_tells_what_was_heard(tmp_path):
    with following(answers_when_asked) as (url, received):
        interruption = question(tmp_path, role="interrupt", anchor=Anchor("reply_audible", 500 * MS))
        trace = play(driver(f"realtime:{url}", **BY_CLIENT, silence_ms=200), question(tmp_path), interruption)
    assert trace.failure is None
    assert decided(trace) == [Action.SPEAK, Action.YIELD, Action.SPEAK]
    first, second = trace.replies
    assert first.heard_ns < 900 * MS < first.generated_ns
    assert second.heard_ns == 200 * MS
    kinds = [event["type"] for event in received if not event["type"].endswith("append")]
    assert kinds[1:] == [
        *("input_audio_buffer.commit", "response.create"),
        *("response.cancel", "conversation.item.truncate"),
        *("input_audio_buffer.commit", "response.create"),
    ]
    truncate = next(event for event in received if event["type"] == "conversation.item.truncate")
    assert truncate["audio_end_ms"] == pytest.approx(first.heard_ns / MS, abs=60)


@pytest.mark.slow
def test_a_cancel_that_comes_too_late_does_no_harm(tmp_path):
    """The reply has been generated and is still audible: nothing is cancelled, playback stops, and an error is a note."""

    async def script(socket):
        await socket.greet()
        await socket.next("response.create")
        await socket.begin_reply(20)
        await socket.end_reply()
        truncate = await socket.next("conversation.item.truncate")
        await socket.send("error", error={"code": "item_truncate_invalid", "event_id": truncate["event_id"]})
        await socket.next("response.create")
        await socket.begin_reply(1, "r1")
        await socket.end_reply(name="r1")
        await socket.listen()

    with following(script) as (url, received):
        interruption = question(tmp_path, role="interrupt", anchor=Anchor("reply_audible", 300 * MS))
        trace = play(driver(f"realtime:{url}", **BY_CLIENT, silence_ms=200), question(tmp_path), interruption)
    assert trace.failure is None
    assert len(trace.replies) == 2
    assert not any(event["type"] == "response.cancel" for event in received)
    assert any(event.data.get("work") == "server_error" for event in trace.of(EventKind.BUSY))


def test_our_own_server_takes_turns_of_a_client(tmp_path):
    options = {"writes": "It is Paris.", "hears": "Which city?", "delay_ms": 300, "reply_ms": 600}
    with served(registry.create("systems", "scripted:late", options)) as (url, server):
        trace = play(driver(f"realtime:{url}", **BY_CLIENT, silence_ms=320), question(tmp_path))
    assert trace.failure is None
    assert trace.transcripts() == ("Which city?",)
    (reply,) = trace.replies
    assert reply.text.strip() == "It is Paris."
    assert reply.heard_ns == pytest.approx(600 * MS, abs=25 * MS)
    assert server.counters.failed == 0


@pytest.mark.slow
def test_silero_hears_a_spoken_question_as_one_turn(tmp_path):
    if store.missing("silero-vad"):
        pytest.skip("the asset silero-vad is not here: fobench assets pull")
    scenario = next(iter(registry.create("suites", "spoken-qa").scenarios(0)))

    with following(answers_once_when_asked) as (url, received):
        trace = play(driver(f"realtime:{url}", turn_detection="none", silence_ms=600), *scenario.turns)
    assert trace.failure is None
    assert len(trace.replies) == 1
    assert sum(event["type"] == "input_audio_buffer.commit" for event in received) == 1
    assert times(trace, EventKind.SPEECH_END)[0] == pytest.approx(trace.user[0].end_ns / MS + 600, abs=250)
