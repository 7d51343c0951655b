"""A Pipecat app is measured through its own WebSocket transport (slow; Pipecat is installed once, by pip)."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fobench.api.types import NS_PER_MS
from fobench.storage.run_folder import RunFolder
from tests.server.test_peers import PEERS
from tests.support.live.peer import clean, environment

pytestmark = pytest.mark.slow
APP = Path(__file__).parent / "peers" / "pipecat_app.py"
STOP_MS, REPLY_MS = 400, 800
SLACK_MS = 150  # Pipecat sends audio in pieces of 40 ms, and the app takes a question's quiet end for silence: 115 to 140 ms here


def responses_ms(python, answer_ms, folder):
    """(response, length of the reply), ms, of two questions to an app that answers after so long."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = subprocess.Popen(
        [str(python), str(APP), str(port), str(STOP_MS), str(answer_ms)],
        stdout=subprocess.PIPE,
        text=True,
        env=clean(),
    )
    try:
        assert any("ready" in line for line in app.stdout)
        system = ["--system", f"websocket:ws://127.0.0.1:{port}"]
        system += ["--system-args", "framing=pipecat", "--system-args", "output_rate_hz=24000"]
        command = [
            sys.executable,
            "-m",
            "fobench",
            "run",
            *system,
            "--no-text-routes",
            "--judge",
            "none",
            "--limit",
            "2",
        ]
        done = subprocess.run([*command, "--output", str(folder)], capture_output=True, text=True, timeout=120)
    finally:
        app.kill()
        app.wait()
    assert done.returncode in (0, 1), done.stderr
    assert json.loads((folder / "run.json").read_text())["clock"] == "wall"
    traces = list(RunFolder(folder).traces())
    assert len(traces) == 2 and not any(trace.failure for trace in traces)
    return [
        ((t.answer.audible_start_ns - t.question.end_ns) / NS_PER_MS, t.answer.heard_ns / NS_PER_MS) for t in traces
    ]


def test_planted_delays_of_an_app_are_recovered(tmp_path):
    python = environment("pipecat", *PEERS["pipecat"])
    fast, slow = (responses_ms(python, answer_ms, tmp_path / str(answer_ms)) for answer_ms in (200, 700))
    for (response_ms, reply_ms), planted_ms in zip([*fast, *slow], [600, 600, 1100, 1100], strict=True):
        assert response_ms == pytest.approx(planted_ms, abs=SLACK_MS)
        assert reply_ms == pytest.approx(REPLY_MS, abs=SLACK_MS)
    for (first_ms, _), (second_ms, _) in zip(fast, slow, strict=True):
        assert second_ms - first_ms == pytest.approx(500, abs=SLACK_MS / 2)
