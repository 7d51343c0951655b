"""The server is driven by official clients, each in an environment of its own (slow; they are installed once, by pip)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fobench.api import registry
from fobench.assets.store import home
from tests.support.live.served import served

pytestmark = pytest.mark.slow
PEERS = {
    "openai": ("openai[realtime]==3.57.0",),
    "agents": ("openai-agents==0.24.0", "websockets<17.5"),
    "livekit": ("livekit-plugins-openai==1.8.9",),
    "pipecat": ("pipecat-ai[openai]==1.14.0", "websockets"),
}
REPLY_MS = 1000


def environment(name, packages, alone="") -> Path:
    """The Python of an environment with a peer's packages, and one that is installed without its dependencies.

    Skips the test where they cannot be installed, e.g. without a network.
    """
    folder = home() / "peers" / f"{name}-{sys.version_info.major}{sys.version_info.minor}"
    python = folder / "bin" / "python"
    if not (folder / "complete").is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        for wanted in filter(None, (packages, alone and ("--no-deps", alone))):
            done = subprocess.run(
                [str(python), "-m", "pip", "install", "--quiet", *wanted], capture_output=True, text=True
            )
            if done.returncode:
                pytest.skip(f"{wanted[-1]} cannot be installed: {done.stderr.strip()[-200:]}")
        (folder / "complete").touch()
    return python


@pytest.mark.parametrize("name", PEERS)
def test_an_official_client_hears_the_whole_reply(name):
    python = environment(name, PEERS[name])
    options = {"writes": "It is Paris.", "hears": "Which city?", "delay_ms": 500, "reply_ms": REPLY_MS}
    with served(registry.create("systems", "scripted:late", options)) as (url, server):
        program = Path(__file__).parent / "peers" / f"{name}_client.py"
        clean = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "OPENAI_AGENTS_DISABLE_TRACING": "1"}
        done = subprocess.run([str(python), str(program), url], capture_output=True, text=True, timeout=90, env=clean)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert told["samples"] == REPLY_MS * 24
    assert told.get("transcript", "It is Paris.").strip() == "It is Paris."
    assert told.get("text", "It is Paris.") == "It is Paris."
    assert server.counters.failed == 0
