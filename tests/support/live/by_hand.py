"""Clients of a served system: ours, that plays a scenario, and events of the Realtime protocol sent by hand."""

import asyncio
import base64
import json

import numpy as np
import soundfile
import websockets

from fobench.api import registry
from fobench.api.scenario import Scenario, Turn
from fobench.api.types import NS_PER_MS
from fobench.execution.system_driver import LocalDriver
from fobench.simulation import replay as runner
from fobench.simulation.clock import WallClock

MS = NS_PER_MS
RATE = 16_000
TONE_MS = 400


def scripted(name="late", **options):
    return registry.create("systems", f"scripted:{name}", {"writes": "It is Paris.", "hears": "Which city?", **options})


def questions(folder):
    """A function that makes turns of `TONE_MS` of tone."""
    path = folder / "tone.wav"
    soundfile.write(path, 0.3 * np.cos(np.arange(RATE * TONE_MS // 1000) * 0.1), RATE, subtype="FLOAT")
    return lambda **settings: Turn(str(path), "", start_ns=0, end_ns=TONE_MS * MS, **settings)


def played(system, *turns, patience_ms=1500, **options):
    """The trace of a conversation in real time with `system`, e.g. realtime:ws://127.0.0.1:8765."""
    driver = LocalDriver(registry.spec("systems", system, options))
    scenario = Scenario("s", "t", 0, turns, patience_ns=patience_ms * MS)
    return runner.replay(scenario, driver, WallClock(), clock_name="wall").trace


def response_ms(trace, turn=0, reply=0):
    """From the end of a turn to the first audible sound of a reply."""
    return (trace.replies[reply].audible_start_ns - trace.user[turn].end_ns) / MS


def exchange(url, *sent, until, path="/v1/realtime", headers=None):
    """Sends events (objects, or raw messages), and returns the server's up to the first of type `until`."""

    async def talk():
        received = []
        async with websockets.connect(url + path, additional_headers=headers, max_queue=None) as socket:
            for event in sent:
                await socket.send(event if isinstance(event, str | bytes) else json.dumps(event))
            async with asyncio.timeout(8):
                async for message in socket:
                    received.append(
                        json.loads(message) if isinstance(message, str) else {"type": "audio", "audio": message}
                    )
                    if received[-1]["type"] == until:
                        return received
        return received

    return asyncio.run(talk())


def wave(ms, rate=24_000):
    """16-bit PCM of a tone."""
    return (9000 * np.cos(np.arange(rate * ms // 1000) * 0.1)).astype("<i2").tobytes()


def append(data):
    return {"type": "input_audio_buffer.append", "audio": base64.b64encode(data).decode()}


def tone(ms, rate=24_000):
    return append(wave(ms, rate))


def silence(ms, rate=24_000):
    return append(bytes(2 * rate * ms // 1000))
