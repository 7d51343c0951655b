"""An independent instrument agrees: the package voicebench and fobench measure the same servers, in turns (slow).

The definitions differ in one thing: voicebench sends each frame of 20 ms when it begins, fobench when it has been spoken. A
server hears voicebench's user 20 ms before the track says, so that `FRAME_MS` is added to what voicebench reports.
"""

import contextlib
import json
import socket
import subprocess
import time

import numpy as np
import pytest
import soundfile

from fobench.api.scenario import Anchor, Turn
from tests.support.live.by_hand import RATE, scripted
from tests.support.live.peer import clean, environment
from tests.support.live.played import MS, driver, play, response_ms
from tests.support.live.served import served

pytestmark = [pytest.mark.slow, pytest.mark.subprocess, pytest.mark.usefixtures("short_tail")]
PACKAGE = "voicebench==0.2.0"
TURN_MS, OVERLAP_MS, FRAME_MS = 1200, 700, 20
ROUNDS = 3
AGREEMENT_MS = 30
LATE_MS = 3 * FRAME_MS + AGREEMENT_MS
SCENARIO = """
name: two-turns
sample_rate: 16000
frame_ms: {frame_ms}
adapter: {{type: websocket, options: {{url: "{url}"}}}}
turns:
  - id: question
    audio: {{file: {audio}}}
    start: {{after: session_start, delay_ms: 300}}
  - id: interruption
    audio: {{file: {audio}}}
    start: {{after: agent_speech_start, delay_ms: {overlap_ms}}}
    expect: stop
"""


@pytest.fixture
def python():
    return environment("voicebench", PACKAGE)


@pytest.fixture
def audio(tmp_path):
    path = tmp_path / "turn.wav"
    soundfile.write(path, 0.3 * np.cos(np.arange(RATE * TURN_MS // 1000) * 0.1), RATE, subtype="PCM_16")
    return path


def by_voicebench(python, url, audio):
    """(response, stop) in ms as `voicebench run` reports them."""
    folder = audio.parent
    values = {"url": url, "audio": audio, "frame_ms": FRAME_MS, "overlap_ms": OVERLAP_MS}
    (folder / "scenario.yaml").write_text(SCENARIO.format(**values))
    command = [str(python), "-m", "voicebench", "run", "scenario.yaml", "--out", "out", "--format", "json", "--quiet"]
    done = subprocess.run(command, cwd=folder, env=clean(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    question, interruption = json.loads((folder / "out" / "report.json").read_text())["sessions"][0]["turns"]
    return question["response_latency_ms"], interruption["stop_latency_ms"]


def by_fobench(url, audio):
    """(response, stop) in ms by our own client `websocket:`, to and from what is audible, as voicebench measures."""
    question = Turn(str(audio), "", start_ns=0, end_ns=TURN_MS * MS)
    anchor = Anchor("reply_audible", OVERLAP_MS * MS)
    interruption = Turn(str(audio), "", start_ns=0, end_ns=TURN_MS * MS, role="interrupt", anchor=anchor)
    trace = play(driver(f"websocket:{url}"), question, interruption, patience_ms=3000)
    assert trace.failure is None
    return response_ms(trace), (trace.replies[0].audible_end_ns - trace.user[1].start_ns) / MS


def agree(python, url, audio):
    """Measures in turns, prints the table, and holds the medians to each other; returns those of fobench."""
    rounds = [(by_voicebench(python, url, audio), by_fobench(url, audio)) for _ in range(ROUNDS)]
    theirs, ours = np.median(np.array(rounds, dtype=float), axis=0)
    print(f"\n{url}, median of {ROUNDS}, ms\n{'':10}{'voicebench':>12}{f'+{FRAME_MS}':>8}{'fobench':>10}{'apart':>8}")
    for name, their, our in zip(("response", "stop"), theirs, ours, strict=True):
        print(f"{name:10}{their:12.1f}{their + FRAME_MS:8.1f}{our:10.1f}{our - their - FRAME_MS:8.1f}")
    assert np.abs(ours - theirs - FRAME_MS).max() <= AGREEMENT_MS, rounds
    return ours


@contextlib.contextmanager
def mock_server(python, **options):
    """The address of `voicebench mock-server`."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    pairs = [part for name, value in options.items() for part in ("--option", f"{name}={value}")]
    command = [str(python), "-m", "voicebench", "mock-server", "--port", str(port), *pairs]
    process = subprocess.Popen(command, env=clean(), stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.1)
        yield f"ws://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize(("delay_ms", "reaction_ms"), [(200, 120), (500, 300)])
def test_both_measure_the_mock_server_alike(python, audio, delay_ms, reaction_ms):
    options = {"endpoint_silence_ms": 300, "response_delay_ms": delay_ms, "response_ms": 3000, "barge_in_min_ms": 100}
    with mock_server(python, **options, interrupt_reaction_ms=reaction_ms) as url:
        response, stop = agree(python, url, audio)
    for measured, planted in ((response, 300 + delay_ms), (stop, 100 + reaction_ms)):
        assert planted - AGREEMENT_MS <= measured <= planted + LATE_MS  # it acts once a frame, after the frame's end


@pytest.mark.parametrize(("answer_ms", "stop_ms"), [(500, 200), (900, 400)])
def test_both_measure_our_server_alike(python, audio, answer_ms, stop_ms):
    system = scripted("yields", delay_ms=stop_ms, answer_ms=answer_ms, reply_ms=3000)
    with served(system) as (url, server):
        response, stop = agree(python, f"{url}/pcm", audio)
    assert response == pytest.approx(answer_ms, abs=AGREEMENT_MS)
    assert stop == pytest.approx(stop_ms, abs=AGREEMENT_MS)
    assert server.counters.interruptions == 2 * ROUNDS
