"""The client of live servers: planted delays are recovered on the wall clock, and whatever a server does is told."""

import pytest

from fobench.api import registry
from fobench.api.scenario import Anchor
from fobench.api.types import Action, EventKind
from fobench.errors import FobenchError, PrerequisiteError
from tests.support.live.played import MS, decided, driver, play, question
from tests.support.live.realtime_server import serving

pytestmark = pytest.mark.usefixtures("short_tail")


def played(server, folder, *more, **options):
    return play(driver(f"realtime:{server.url}", **options), question(folder), *more)


def times(trace, kind):
    return [event.compute_ns / MS for event in trace.events if event.kind == kind]


def test_a_spoken_question(tmp_path):
    with serving() as server:
        trace = played(server, tmp_path)
    assert trace.failure is None
    assert trace.transcripts() == ("What is the capital of France?",)
    (reply,) = trace.replies
    assert reply.text == "The capital of France is Paris."
    assert reply.generated_ns == reply.heard_ns == 400 * MS  # every sample, also those cut in two
    assert decided(trace) == [Action.SPEAK]
    user_end_ms = trace.user[0].end_ns / MS
    latency_ms = reply.audible_start_ns / MS - user_end_ms
    assert latency_ms == pytest.approx(200 + 300, abs=60)  # the silence that ends a turn, and the planted delay
    assert times(trace, EventKind.SPEECH_END)[0] - user_end_ms == pytest.approx(200, abs=60)
    assert any(event.data.get("usage", {}).get("total_tokens") == 7 for event in trace.events)
    assert any(event.data.get("work") == "round_trip" for event in trace.events)


@pytest.mark.slow
def test_an_interruption_stops_playback_and_is_reported(tmp_path):
    with serving(reply_ms=3000) as server:
        trace = played(server, tmp_path, question(tmp_path, role="interrupt", anchor=Anchor("reply_audible", 500 * MS)))
        truncated = [event for event in server.received if event["type"] == "conversation.item.truncate"]
    assert trace.failure is None
    assert len(trace.replies) == 2
    assert trace.replies[0].heard_ns < 900 * MS < trace.replies[0].generated_ns
    assert truncated[0]["audio_end_ms"] == pytest.approx(trace.replies[0].heard_ns / MS, abs=40)


@pytest.mark.parametrize("flat", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_configuration_is_in_the_servers_dialect(tmp_path, flat):
    with serving(flat=flat, answer_ms=100, reply_ms=100) as server:
        trace = played(server, tmp_path, instructions="Be brief.", voice="ash", transcription="m")
        session = server.received[0]["session"]
    assert trace.replies[0].text
    assert session["instructions"] == "Be brief."
    if flat:
        assert session["modalities"] == ["text", "audio"]
        assert session["input_audio_format"] == "pcm16"
        assert session["turn_detection"] == {"type": "server_vad"}
        assert session["input_audio_transcription"] == {"model": "m"}
    else:
        assert session["output_modalities"] == ["audio"]
        assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24_000}
        assert session["audio"]["output"]["voice"] == "ash"


@pytest.mark.parametrize("flat", [False, True])
def test_an_answer_by_text(flat):
    with serving(flat=flat) as server:
        system = registry.create("systems", f"realtime:{server.url}")
        history = [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi."},
            {"role": "user", "content": "Which city?"},
        ]
        assert system.answer(history, 0).strip() == "The capital of France is Paris."
        items = [event["item"] for event in server.received if event["type"] == "conversation.item.create"]
    assert [item["role"] for item in items] == ["user", "assistant", "user"]
    assert items[1]["content"] == [{"type": "text" if flat else "output_text", "text": "Hi."}]


def test_the_key_comes_from_the_environment(tmp_path, monkeypatch):
    with serving(key="secret-1", answer_ms=100, reply_ms=100) as server:
        monkeypatch.setenv("MY_KEY", "secret-1")
        system = registry.create("systems", f"realtime:{server.url}", {"api_key_env": "MY_KEY"})
        assert "secret-1" not in str(system.about())
        assert played(server, tmp_path, api_key_env="MY_KEY").failure is None
        assert "wants a key" in played(server, tmp_path).failure.message
        monkeypatch.delenv("MY_KEY")
        with pytest.raises(PrerequisiteError, match="MY_KEY"):
            registry.create("systems", f"realtime:{server.url}", {"api_key_env": "MY_KEY"})


FAILURES = {
    "not JSON": ({"first": ["hello"]}, "not JSON"),
    "no type": ({"first": [{"a": 1}]}, "without a type"),
    "an error in the midst": (
        {"during": {"type": "error", "error": {"type": "server_error", "message": "disk full"}}},
        "disk full",
    ),
    "a failed response": ({"status": "failed"}, "overloaded"),
    "hangs up": ({"closes_after": 20}, "out of service"),
    "bad base64": (
        {"during": {"type": "response.output_audio.delta", "response_id": "reply", "delta": "%%"}},
        "not base64",
    ),
}


REPEATED = ("an error in the midst", "a failed response", "bad base64")  # by scripts in test_bad_servers.py


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in REPEATED else ()) for name in FAILURES]
)
def test_what_a_server_does_wrong_fails_the_scenario(name, tmp_path):
    script, message = FAILURES[name]
    with serving(**script) as server:
        trace = played(server, tmp_path)
        assert message in trace.failure.message, trace.failure
        if "first" not in script:
            assert trace.events  # what came before is kept


def test_no_server(tmp_path):
    with serving() as server:
        url = server.url
    trace = play(driver(f"realtime:{url}"), question(tmp_path))
    assert "cannot be reached" in trace.failure.message


def test_an_unknown_event_and_audio_after_the_end_do_no_harm(tmp_path):
    late = {"type": "response.output_audio.delta", "response_id": "gone", "delta": "AAAA"}
    with serving(during=late, answer_ms=100) as server:
        trace = played(server, tmp_path)
    assert trace.failure is None
    assert trace.replies[0].generated_ns == 400 * MS


@pytest.mark.parametrize("url", ["", "ftp://x", "ws://", "ws://user:pass@host", "ws://host:port", "ws://host:99999"])
def test_addresses(url):
    with pytest.raises(FobenchError, match="address"):
        registry.create("systems", "realtime", {"url": url})
