"""Our client against a server that is not ours: Hugging Face's `speech-to-speech`, its router and service without models (slow)."""

import contextlib
import subprocess
from pathlib import Path

import pytest

from fobench.api import registry
from fobench.api.scenario import Anchor
from fobench.api.types import Action, EventKind
from tests.support.live.peer import clean, environment
from tests.support.live.played import MS, decided, driver, play, question

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_tail")]
NEEDED = ("fastapi", "uvicorn", "websockets", "numpy", "scipy", "httpx", "openai==2.28.0")
QUIET_MS, REPLY_MS = 224, 1500  # of the peer's detector and reply


@pytest.fixture(scope="module")
def url():
    python = environment("speech-to-speech", *NEEDED, alone="speech-to-speech==1.1.0")
    program = Path(__file__).parent / "peers" / "speech_to_speech_server.py"
    command = [str(python), str(program), str(REPLY_MS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean()) as server:
        assert server.stdout
        try:
            yield f"ws://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                server.kill()


def test_a_spoken_question(url, tmp_path):
    trace = play(driver(f"realtime:{url}"), question(tmp_path))
    assert trace.failure is None
    assert trace.transcripts() == ("Which city?",)
    (reply,) = trace.replies
    assert reply.text.strip() == "It is Paris."
    assert reply.heard_ns == pytest.approx(REPLY_MS * MS, abs=2 * MS)
    ended_ms = trace.of(EventKind.SPEECH_END)[0].compute_ns / MS - trace.user[0].end_ns / MS
    assert ended_ms == pytest.approx(QUIET_MS + 50, abs=80)  # the peer's detector works in pieces of 32 ms
    tokens = registry.create("metrics", "tokens_input").score(trace, trace.scenario)
    assert tokens.detail["kinds"] == {"text_input": 11}


def test_an_interruption(url, tmp_path):
    interruption = question(tmp_path, role="interrupt", anchor=Anchor("reply_audible", 500 * MS))
    trace = play(driver(f"realtime:{url}"), question(tmp_path), interruption)
    assert trace.failure is None
    assert decided(trace) == [Action.SPEAK, Action.YIELD, Action.SPEAK]
    first, second = trace.replies
    assert first.heard_ns == pytest.approx(550 * MS, abs=150 * MS)
    assert second.heard_ns == pytest.approx(REPLY_MS * MS, abs=2 * MS)


def test_a_rate_that_it_does_not_have_is_its_refusal(url, tmp_path):
    trace = play(driver(f"realtime:{url}", rate_hz=16_000), question(tmp_path))
    assert "the server refuses the session: unknown_or_invalid_event" in trace.failure.message


def test_an_answer_by_text(url):
    system = registry.create("systems", f"realtime:{url}")
    assert system.answer([{"role": "user", "content": "Which city?"}], 0).strip() == "It is Paris."
