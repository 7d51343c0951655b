"""Servers of other vendors: scripts that begin and answer as their documentation says. None of them is the real service."""

import json

import pytest

from fobench.api import registry
from fobench.api.types import Action, EventKind
from fobench.errors import FobenchError, SystemFailure
from tests.support.live.played import MS, driver, play, question
from tests.support.live.socket_server import following, tone

pytestmark = pytest.mark.usefixtures("short_tail")


async def reply(socket):
    """After the question: a reply of 200 ms in the GA's words."""
    await socket.question()
    await socket.begin_reply(2)
    await socket.end_reply()
    await socket.listen()


# ---- Azure OpenAI ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/openai/v1/realtime", "model=my-deployment"),
        pytest.param("/openai/realtime", "api-version=2025-04-01-preview&deployment=x", marks=pytest.mark.slow),
    ],
)
def test_azure_has_a_header_of_its_own_and_a_path_with_a_query(path, query, tmp_path, monkeypatch):
    requests = []

    async def script(socket):
        await socket.greet()
        await reply(socket)

    with following(script, admit=lambda raw, request: requests.append(request)) as (url, _):
        monkeypatch.setenv("AZURE_KEY", "secret-2")
        options = {"api_key_env": "AZURE_KEY", "key_header": "api-key"}
        trace = play(driver(f"realtime:{url}{path}?{query}", **options), question(tmp_path))
    assert trace.failure is None
    assert requests[0].path == f"{path}?{query}"
    assert requests[0].headers["api-key"] == "secret-2"
    assert "Authorization" not in requests[0].headers


# ---- xAI -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        {"type": "conversation.created", "conversation": {"id": "c1", "object": "realtime.conversation"}},
        {"type": "session.created", "session": {"id": "s1", "turn_detection": {"type": "server_vad"}, "audio": {}}},
    ],
    ids=["older", "newer"],
)
@pytest.mark.parametrize("by_client", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_xai_has_turn_detection_at_the_top_level(first, by_client, tmp_path):
    async def script(socket):
        await socket.send(**first)
        asked = (await socket.next("session.update"))["session"]
        await socket.send("session.updated", session=asked)
        if by_client:
            await socket.next("response.create")
            await socket.begin_reply(2)
            await socket.end_reply()
            await socket.listen()
        await reply(socket)

    options = {"turn_detection": "none", "vad": "loudness", "silence_ms": 200} if by_client else {}
    with following(script) as (url, received):
        trace = play(driver(f"realtime:{url}", voice="Ara", **options), question(tmp_path))
    assert trace.failure is None
    assert trace.replies[0].generated_ns == 200 * MS
    session = received[0]["session"]
    assert session["turn_detection"] == {"type": None if by_client else "server_vad"}
    assert "turn_detection" not in session["audio"]["input"]
    assert session["audio"]["output"] == {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": "Ara"}


# ---- Qwen-Omni -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("pcm", "pcm"), pytest.param(("pcm16", "pcm24"), marks=pytest.mark.slow)])
def test_qwen_has_the_betas_names_and_its_own_words_for_pcm(words, tmp_path):
    usage = {
        "total_tokens": 30,
        "input_tokens": 20,
        "output_tokens": 10,
        "input_tokens_details": {"text_tokens": 5, "audio_tokens": 15},
        "output_tokens_details": {"text_tokens": 2, "audio_tokens": 8},
    }

    async def script(socket):
        formats = dict(zip(("input_audio_format", "output_audio_format"), words, strict=True))
        await socket.greet({"object": "realtime.session", "model": "qwen", "modalities": ["text", "audio"], **formats})
        await socket.question()
        await socket.send("response.created", response={"id": "r0", "status": "in_progress"})
        await socket.send("response.audio_transcript.delta", response_id="r0", item_id="i0", delta="Paris.")
        await socket.audio(tone(200), kind="response.audio.delta")
        await socket.end_reply(usage=usage)
        await socket.listen()

    with following(script) as (url, received):
        trace = play(driver(f"realtime:{url}/api-ws/v1/realtime", model="qwen", rate_hz=16_000), question(tmp_path))
    assert trace.failure is None
    assert trace.replies[0].text == "Paris."
    assert trace.replies[0].generated_ns == 200 * MS
    session = received[0]["session"]
    assert (session["input_audio_format"], session["output_audio_format"]) == words
    assert session["modalities"] == ["text", "audio"]
    assert "type" not in session
    metric = registry.create("metrics", "tokens_output")
    assert metric.score(trace, trace.scenario).detail["kinds"] == {"audio_output": 8, "text_output": 2}


# ---- vLLM-Omni -------------------------------------------------------------------------------------------------------

DUPLEX_SESSION = {
    "object": "realtime.session",
    "id": "duplex-1",
    "model": "openbmb/MiniCPM-o-4_5",
    "turn_detection": None,
    "audio": {
        "input": {"format": {"type": "audio/pcm", "rate": 16_000}},
        "output": {"format": {"type": "audio/pcm", "rate": 24_000}},
    },
    "capabilities": {"implementation_level": "model_native_duplex", "chunk_period_ms": 1000},
}


async def full_duplex(socket):
    """The session begins with the client's configuration; the model decides when to speak, and when it is interrupted."""
    await socket.next("session.update")
    await socket.send("session.created", session=DUPLEX_SESSION, attachment_generation=1, resume_token="rt")
    await socket.send("session.updated", session=DUPLEX_SESSION)
    await socket.question(300)
    await socket.send("response.listen", response={"status": "listening"}, epoch=0)
    await socket.question(320)
    await socket.send("response.created", response_id="r0", response={"id": "r0", "status": "in_progress"})
    await socket.send("response.speak", response_id="r0", item_id="i0", metadata={"model_speak": True})
    await socket.audio(tone(2000), format="pcm16", sample_rate_hz=24_000)
    await socket.send("response.output_audio_transcript.delta", response_id="r0", item_id="i0", delta="Paris.")
    await socket.question(600)
    await socket.send("overlap.decision", policy="barge_in_on_speech", action="barge_in", epoch=0)
    await socket.end_reply("cancelled", status_details={"type": "cancelled", "reason": "barge_in"})
    await socket.send("rate_limits.updated", rate_limits=[])
    await socket.listen()


def test_vllm_omnis_full_duplex(tmp_path):
    further = tmp_path / "session.json"
    further.write_text(json.dumps({"ref_audio": "data:audio/wav;base64,AAAA", "playback_commit_policy": "ack_only"}))
    options = {"rate_hz": 16_000, "turn_detection": "model", "session": str(further)}
    with following(full_duplex) as (url, received):
        trace = play(driver(f"realtime:{url}/v1/realtime?duplex=1", **options), question(tmp_path), patience_ms=300)
    assert trace.failure is None
    session = received[0]["session"]
    assert session["turn_detection"] is None
    assert session["audio"]["input"] == {"format": {"type": "audio/pcm", "rate": 16_000}}
    assert session["playback_commit_policy"] == "ack_only"
    heard_ms = trace.replies[0].heard_ns / MS
    assert heard_ms == pytest.approx(600, abs=60)  # the model's interruption stops playback
    assert trace.decisions(Action.YIELD)
    played = [event for event in received if event["type"] == "playback.ack"]
    assert [event["played_ms"] for event in played[:5]] == pytest.approx([100, 200, 300, 400, 500], abs=75)
    assert played[-1]["played_ms"] == pytest.approx(heard_ms, abs=120)
    assert {event["response_id"] for event in played} == {"r0"}
    truncated = [event for event in received if event["type"] == "conversation.item.truncate"]
    assert [event["audio_end_ms"] for event in truncated] == pytest.approx([heard_ms], abs=45)
    assert received[-1]["type"] == "session.close"  # it would keep the session, one of four, for half a minute


def test_a_server_that_falls_back_to_turns_in_silence_is_noticed(tmp_path):
    async def script(socket):
        await socket.greet()
        await socket.listen()

    with following(script) as (url, _):
        driven = driver(f"realtime:{url}/v1/realtime?duplex=1", rate_hz=16_000, turn_detection="model")
        trace = play(driven, question(tmp_path))
        assert "no full duplex, though duplex=1 asks for it" in trace.failure.message
        with pytest.raises(SystemFailure, match="--no-text-routes"):
            driven.answer([{"role": "user", "content": "Which city?"}], 0)


@pytest.mark.slow
def test_vllm_omni_turn_based(tmp_path):
    """A subset of the GA at 16 kHz; each piece of audio tells its rate."""

    async def script(socket):
        await socket.greet({"id": "s1", "model": "qwen3-omni"})
        await socket.question()
        await socket.send("response.created", response={"id": "r0"})
        await socket.audio(tone(200), sample_rate_hz=24_000)
        await socket.end_reply()
        await socket.listen()

    with following(script) as (url, _):
        trace = play(driver(f"realtime:{url}/v1/realtime?duplex=0", rate_hz=16_000), question(tmp_path))
    assert trace.failure is None
    assert trace.replies[0].generated_ns == 200 * MS
    assert not any(event.data.get("work") == "out_of_order" for event in trace.of(EventKind.BUSY))


# ---- Any of them -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_further_fields_of_a_session_go_before_ours(tmp_path):
    further = tmp_path / "session.json"
    further.write_text('{"audio": {"input": {"turn_detection": {"silence_duration_ms": 200}}}, "temperature": 0.8}')

    async def script(socket):
        await socket.greet()
        await reply(socket)

    with following(script) as (url, received):
        trace = play(driver(f"realtime:{url}", session=str(further)), question(tmp_path))
    assert trace.failure is None
    session = received[0]["session"]
    assert session["audio"]["input"]["turn_detection"] == {"type": "server_vad", "silence_duration_ms": 200}
    assert session["audio"]["input"]["format"]["rate"] == 24_000
    assert session["temperature"] == 0.8
    further.write_text("[1]")
    with pytest.raises(FobenchError, match="must hold an object"):
        registry.create("systems", "realtime:ws://x", {"session": str(further)})
