"""Raw audio over a WebSocket: planted delays of an independent mock agent, and Pipecat's frames."""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.api.live import LiveCall
from fobench.api.types import EventKind
from fobench.errors import SystemFailure
from fobench_plugins.systems.realtime import connection
from fobench_plugins.systems.realtime.framing import PipecatFraming, RawFraming, RawMessage, pcm16
from fobench_plugins.systems.realtime.raw_socket import RawReplies
from tests.support.live.played import driver, play, question
from tests.support.live.socket_server import following, tone


@given(st.integers(0, 5000), st.sampled_from([8_000, 16_000, 24_000]))
def test_a_frame_of_pipecat_comes_back(length, rate):
    samples = np.random.default_rng(length).uniform(-1, 1, length).astype(np.float32)
    framing = PipecatFraming(rate, rate)
    assert framing.decode(framing.encode(samples)) == RawMessage("audio", pcm16(samples))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_frame_or_a_clear_failure(data):
    try:
        found = PipecatFraming(16_000, 16_000).decode(data)
    except SystemFailure as failure:
        assert "frame of Pipecat" in str(failure) or "audio of" in str(failure)
    else:
        assert found is None or isinstance(found, RawMessage)


@given(st.text(max_size=60))
def test_any_text_beside_raw_audio_is_passed_over(text):
    assert RawFraming().decode(text) is None


def test_frames_as_pipecat_writes_them():
    framing = PipecatFraming(16_000, 24_000)
    # TextFrame(id=7, name="t", text="Hello"), TranscriptionFrame(text="Hi", user_id="u"), InterruptionFrame(id=1)
    assert framing.decode(b"\x0a\x0c\x08\x07\x12\x01t\x1a\x05Hello") == RawMessage("assistant", text="Hello")
    assert framing.decode(b"\x1a\x07\x1a\x02Hi\x22\x01u") == RawMessage("user", text="Hi")
    assert framing.decode(b"\x2a\x02\x08\x01") == RawMessage("clear")
    with pytest.raises(SystemFailure, match="output_rate_hz=16000"):
        framing.decode(framing.encode(np.zeros(4, np.float32)))


def test_signs_beside_raw_audio():
    framing = RawFraming()
    assert framing.decode(b"\x01\x02") == RawMessage("audio", b"\x01\x02")
    assert framing.decode('{"type": "clear"}') == RawMessage("clear")
    assert framing.decode('{"type": "transcript", "role": "user", "text": "hi"}') == RawMessage("user", text="hi")
    assert framing.decode('{"type": "transcript", "role": "user", "text": "h", "final": false}') is None


# ---- conversations -------------------------------------------------------------------------------------------------------


def test_audio_without_an_end(tmp_path, monkeypatch, short_tail):
    monkeypatch.setattr(connection, "MOST_AUDIO_S", 3)

    async def never_stops(socket):
        while True:
            await socket.raw.recv()
            await socket.raw.send(tone(200, 16_000))

    with following(never_stops) as (url, _):
        trace = play(driver(f"websocket:{url}"), question(tmp_path))
    assert trace.failure.kind == "endless"
    assert "minutes of audio in one conversation" in trace.failure.message


@pytest.mark.parametrize("sign", ["clear", "end"])
def test_half_a_sample_does_not_outlive_its_reply(sign):
    """Else all audio after it is noise: its bytes are paired wrongly."""
    quiet = np.full(8_000, 256, "<i2").tobytes()  # paired wrongly: 1

    async def taken():
        call = LiveCall(0)
        replies = RawReplies(call, 16_000)
        for message in (RawMessage("audio", quiet + b"\x7f"), RawMessage(sign), RawMessage("audio", quiet)):
            replies.take(message)
        return [event.data["audio"].samples for event in call._events if event.kind == EventKind.AUDIO]

    assert np.unique(np.concatenate(asyncio.run(taken()))).tolist() == [256 / 32768]
