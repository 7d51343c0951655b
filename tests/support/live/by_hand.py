"""Events of the Realtime protocol sent by hand to a served system, and such a system."""

import asyncio
import base64
import json

import numpy as np
import websockets

from fobench.api import registry

RATE = 16_000


def scripted(name="late", **options):
    return registry.create("systems", f"scripted:{name}", {"writes": "It is Paris.", "hears": "Which city?", **options})


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
