"""Gemini's Live API by its documented messages: a script on loopback, never the real service."""

import base64

import pytest

from fobench.api import registry
from fobench.api.live import LiveCall
from fobench.api.scenario import Anchor
from fobench.api.types import Action, EventKind
from fobench.errors import PrerequisiteError
from fobench_plugins.systems.realtime import gemini
from tests.support.live.played import MS, decided, driver, play, question
from tests.support.live.socket_server import following, tone

pytestmark = pytest.mark.usefixtures("short_tail")
USAGE = {
    "promptTokenCount": 40,
    "responseTokenCount": 25,
    "totalTokenCount": 65,
    "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 32}, {"modality": "TEXT", "tokenCount": 8}],
    "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 25}],
}


def audio(ms, rate=24_000):
    data = {"mimeType": f"audio/pcm;rate={rate}", "data": base64.b64encode(tone(ms)).decode()}
    return {"modelTurn": {"parts": [{"inlineData": data}]}}


async def begin(socket):
    """Takes the setup, in whose answer JSON comes in a binary message, as from the service."""
    setup = await socket.next()
    await socket.raw.send(b'{"setupComplete": {}}')
    return setup["setup"]


async def hear(socket, ms=620):
    for _ in range(ms // 20):
        await socket.next()


async def answer(socket):
    await socket.send(serverContent={"inputTranscription": {"text": "Which "}})
    await socket.send(serverContent={"inputTranscription": {"text": "city?"}})
    await socket.send(serverContent=audio(100))
    await socket.send(serverContent={**audio(100), "outputTranscription": {"text": "Paris"}})
    await socket.send(serverContent={"generationComplete": True})
    await socket.send(serverContent={"outputTranscription": {"text": "."}})  # transcripts come in no fixed order
    await socket.send(serverContent={"turnComplete": True}, usageMetadata=USAGE)


def test_a_spoken_question(tmp_path, monkeypatch):
    requests = []

    async def script(socket):
        await begin(socket)
        await hear(socket)
        await answer(socket)
        await socket.send(sessionResumptionUpdate={"resumable": False}, toolCall={})
        await socket.send(goAway={"timeLeft": "50s"})
        await socket.listen()

    monkeypatch.setenv("GEMINI_KEY", "secret-3")
    with following(script, admit=lambda raw, request: requests.append(request)) as (url, received):
        options = {"url": url, "api_key_env": "GEMINI_KEY", "instructions": "Be brief.", "voice": "Puck"}
        driven = driver("gemini:some-model", **options)
        trace = play(driven, question(tmp_path))
    assert trace.failure is None
    assert trace.transcripts() == ("Which city?",)
    (reply,) = trace.replies
    assert (reply.text, reply.heard_ns) == ("Paris.", 200 * MS)
    assert requests[0].path == f"{gemini.PATH}?key=secret-3"
    assert "secret-3" not in str(driven.about()) and "secret-3" not in str(trace.to_json())
    setup, first = received[0]["setup"], received[1]["realtimeInput"]["audio"]
    assert setup["model"] == "models/some-model"
    assert setup["generationConfig"]["responseModalities"] == ["AUDIO"]
    assert setup["systemInstruction"]["parts"][0]["text"] == "Be brief."
    assert first["mimeType"] == "audio/pcm;rate=16000"
    assert len(base64.b64decode(first["data"])) == 640  # 20 ms
    kinds = registry.create("metrics", "tokens_input").score(trace, trace.scenario).detail["kinds"]
    assert kinds == {"audio_input": 32, "text_input": 8}
    assert any(event.data.get("work") == "go_away" for event in trace.of(EventKind.BUSY))


def test_an_interruption(tmp_path):
    async def script(socket):
        await begin(socket)
        await hear(socket)
        await socket.send(serverContent=audio(3000))
        await hear(socket, 700)
        await socket.send(serverContent={"interrupted": True})
        await socket.send(serverContent=audio(100))  # was under way
        await socket.send(serverContent={"turnComplete": True})
        await hear(socket, 500)
        await answer(socket)
        await socket.listen()

    interruption = question(tmp_path, role="interrupt", anchor=Anchor("reply_audible", 500 * MS))
    with following(script) as (url, _):
        trace = play(driver("gemini:m", url=url), question(tmp_path), interruption)
    assert trace.failure is None
    assert decided(trace) == [Action.SPEAK, Action.YIELD, Action.SPEAK]
    first, second = trace.replies
    assert first.generated_ns == 3000 * MS
    assert first.heard_ns == pytest.approx(700 * MS, abs=80 * MS)
    assert second.heard_ns == 200 * MS


async def refuses(socket):
    await socket.next()
    await socket.raw.close(1008, "models/m is not found for API version v1beta")


async def never_sets_up(socket):
    await socket.listen()


async def answers_otherwise(socket):
    await socket.next()
    await socket.send(error={"code": 400})


async def another_rate(socket):
    await begin(socket)
    await socket.send(serverContent=audio(100, 16_000))
    await socket.listen()


async def goes_on_after_the_end(socket):
    await begin(socket)
    await socket.send(serverContent={**audio(100), "generationComplete": True})
    await socket.send(serverContent=audio(100))
    await socket.listen()


@pytest.mark.parametrize(
    ("script", "kind", "message"),
    [
        (refuses, "died", "is not found for API version"),
        (never_sets_up, "hung", "within 0.3 s"),
        (answers_otherwise, "bad_event", "answers the setup with 'error'"),
        (another_rate, "bad_audio", "not at 24000 Hz"),
        (goes_on_after_the_end, "bad_event", "after its generationComplete"),
    ],
)
def test_what_goes_wrong_is_told(script, kind, message, tmp_path, monkeypatch):
    monkeypatch.setattr(gemini, "SETUP_S", 0.3)
    with following(script) as (url, _):
        failure = play(driver("gemini:m", url=url), question(tmp_path)).failure
    assert (failure.kind, message in failure.message) == (kind, True), failure.message


@pytest.mark.parametrize("content", [[], {"modelTurn": []}, {"modelTurn": {"parts": [1, {"inlineData": 2}]}}, "x"])
def test_odd_content_is_passed_over(content):
    call = LiveCall(0)
    gemini.GeminiReplies(call, "models/m").take({"serverContent": content, "usageMetadata": {"promptTokensDetails": 3}})
    assert [event.kind for event in call._events] == [EventKind.BUSY]


def test_the_key_is_asked_for_before_anything_runs(monkeypatch):
    monkeypatch.delenv("GEMINI_KEY", raising=False)
    with pytest.raises(PrerequisiteError, match="GEMINI_KEY"):
        registry.create("systems", "gemini:m", {"api_key_env": "GEMINI_KEY"})
