"""The server is driven by official clients, each in an environment of its own (slow; they are installed once, by pip)."""

import json
import subprocess
from pathlib import Path

import pytest

from fobench.api import registry
from tests.support.live.peer import clean, environment
from tests.support.live.served import served

pytestmark = pytest.mark.slow
PEERS = {
    "openai": ("openai[realtime]==3.57.0",),
    "agents": ("openai-agents==0.24.0", "websockets<17.5"),
    "livekit": ("livekit-plugins-openai==1.8.9",),
    "pipecat": ("pipecat-ai[openai]==1.14.0", "websockets"),
}
REPLY_MS = 1000


@pytest.mark.parametrize("name", PEERS)
def test_an_official_client_hears_the_whole_reply(name):
    python = environment(name, *PEERS[name])
    options = {"writes": "It is Paris.", "hears": "Which city?", "delay_ms": 500, "reply_ms": REPLY_MS}
    with served(registry.create("systems", "scripted:late", options)) as (url, server):
        program = Path(__file__).parent / "peers" / f"{name}_client.py"
        variables = {**clean(), "OPENAI_AGENTS_DISABLE_TRACING": "1"}
        done = subprocess.run(
            [str(python), str(program), url], capture_output=True, text=True, timeout=90, env=variables
        )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert told["samples"] == REPLY_MS * 24
    assert told.get("transcript", "It is Paris.").strip() == "It is Paris."
    assert told.get("text", "It is Paris.") == "It is Paris."
    assert server.counters.failed == 0
