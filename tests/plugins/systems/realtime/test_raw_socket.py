"""Raw audio over a WebSocket: planted delays of an independent mock agent, and Pipecat's frames."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.errors import SystemFailure
from fobench_plugins.systems.realtime.framing import PipecatFraming, RawFraming, RawMessage, pcm16


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
