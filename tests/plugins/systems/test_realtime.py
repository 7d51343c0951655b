"""The client of live servers: planted delays are recovered on the wall clock, and whatever a server does is told."""

import numpy as np
import pytest
import soundfile

from fobench.api import registry
from fobench.api.scenario import Anchor, Scenario, Turn
from fobench.api.types import NS_PER_MS, Action, EventKind
from fobench.errors import FobenchError, PrerequisiteError
from fobench.execution.system_driver import LocalDriver
from fobench.simulation import replay as runner
from fobench.simulation.clock import WallClock
from tests.support.live.realtime_server import serving

MS = NS_PER_MS
RATE = 16_000


@pytest.fixture(autouse=True)
def short_tail(monkeypatch):
    """Conversations in real time end soon after their last sound."""
    monkeypatch.setattr(runner, "TAIL_NS", 100 * MS)


@pytest.fixture
def question(tmp_path):
    """Makes turns of 400 ms of tone."""
    path = tmp_path / "tone.wav"
    soundfile.write(path, 0.3 * np.cos(np.arange(RATE * 4 // 10) * 0.1), RATE, subtype="FLOAT")
    soon = {"anchor": Anchor(delay_ns=150 * MS)}
    return lambda **settings: Turn(str(path), "", start_ns=0, end_ns=400 * MS, **{**soon, **settings})


def played(server, question, *more, patience_ms=1500, **options):
    driver = LocalDriver(registry.spec("systems", f"realtime:{server.url}", options))
    scenario = Scenario("s", "t", 0, (question(), *more), patience_ns=patience_ms * MS)
    return runner.replay(scenario, driver, WallClock(), clock_name="wall")


def times(trace, kind):
    return [event.compute_ns / MS for event in trace.events if event.kind == kind]


def test_a_spoken_question(question):
    with serving() as server:
        recording = played(server, question)
    trace = recording.trace
    assert trace.failure is None
    assert trace.transcripts() == ("What is the capital of France?",)
    (reply,) = trace.replies
    assert reply.text == "The capital of France is Paris."
    assert reply.generated_ns == reply.heard_ns == 400 * MS  # every sample, also those cut in two
    assert [d for e in trace.events if e.kind == EventKind.DECISION for d in [e.data["action"]]] == [Action.SPEAK]
    user_end_ms = trace.user[0].end_ns / MS
    latency_ms = reply.audible_start_ns / MS - user_end_ms
    assert latency_ms == pytest.approx(200 + 300, abs=60)  # the silence that ends a turn, and the planted delay
    assert times(trace, EventKind.SPEECH_END)[0] - user_end_ms == pytest.approx(200, abs=60)
    assert any(event.data.get("usage", {}).get("total_tokens") == 7 for event in trace.events)
    assert any(event.data.get("work") == "round_trip" for event in trace.events)


@pytest.mark.slow
def test_an_interruption_stops_playback_and_is_reported(question):
    with serving(reply_ms=3000) as server:
        trace = played(server, question, question(role="interrupt", anchor=Anchor("reply_audible", 500 * MS))).trace
        truncated = [event for event in server.received if event["type"] == "conversation.item.truncate"]
    assert trace.failure is None
    assert len(trace.replies) == 2
    assert trace.replies[0].heard_ns < 900 * MS < trace.replies[0].generated_ns
    assert truncated[0]["audio_end_ms"] == pytest.approx(trace.replies[0].heard_ns / MS, abs=40)


@pytest.mark.parametrize("flat", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_configuration_is_in_the_servers_dialect(question, flat):
    with serving(flat=flat) as server:
        trace = played(server, question, instructions="Be brief.", voice="ash", transcription="m").trace
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


def test_the_key_comes_from_the_environment(question, monkeypatch):
    with serving(key="secret-1") as server:
        monkeypatch.setenv("MY_KEY", "secret-1")
        system = registry.create("systems", f"realtime:{server.url}", {"api_key_env": "MY_KEY"})
        assert "secret-1" not in str(system.about())
        assert played(server, question, api_key_env="MY_KEY").trace.failure is None
        assert "wants a key" in played(server, question).trace.failure.message
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


@pytest.mark.parametrize("name", FAILURES)
def test_what_a_server_does_wrong_fails_the_scenario(name, question):
    script, message = FAILURES[name]
    with serving(**script) as server:
        trace = played(server, question).trace
        assert message in trace.failure.message, trace.failure
        if "first" not in script:
            assert trace.events  # what came before is kept


def test_no_server(question):
    with serving() as server:
        url = server.url
    driver = LocalDriver(registry.spec("systems", f"realtime:{url}"))
    trace = runner.replay(Scenario("s", "t", 0, (question(),)), driver, WallClock(), clock_name="wall").trace
    assert "cannot be reached" in trace.failure.message


def test_an_unknown_event_and_audio_after_the_end_do_no_harm(question):
    late = {"type": "response.output_audio.delta", "response_id": "gone", "delta": "AAAA"}
    with serving(during=late) as server:
        trace = played(server, question).trace
    assert trace.failure is None
    assert trace.replies[0].generated_ns == 400 * MS


@pytest.mark.parametrize("url", ["", "ftp://x", "ws://", "ws://user:pass@host", "ws://host:port", "ws://host:99999"])
def test_addresses(url):
    with pytest.raises(FobenchError, match="address"):
        registry.create("systems", "realtime", {"url": url})
