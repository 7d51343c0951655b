"""A conversation beside others: a client that speaks in real time and measures how soon it is answered."""

import asyncio
import time

import numpy as np
import websockets

from tests.support.live.by_hand import RATE, wave

PIECE = RATE // 50 * 2  # bytes of 20 ms
TURN_MS = 300


async def answered_after_ms(url, patience_s=5.0):
    """Milliseconds from the end of a tone to the first sound of the reply to it, over raw audio."""
    sound, ended = bytes(RATE // 5) + wave(TURN_MS, RATE), [0.0]
    async with websockets.connect(f"{url}/pcm", max_queue=None) as socket:
        speaking = asyncio.create_task(_speak(socket, sound, ended))
        try:
            async with asyncio.timeout(patience_s):
                async for message in socket:
                    if isinstance(message, bytes):
                        loud = np.flatnonzero(np.abs(np.frombuffer(message, "<i2")) > 1000)
                        if len(loud):
                            return 1e3 * (time.monotonic() - ended[0]) + 1e3 * loud[0] / RATE
        finally:
            speaking.cancel()
    raise AssertionError("the server ended the conversation of a client that does nothing wrong")


async def _speak(socket, sound, ended):
    begin = time.monotonic()
    for i in range(10_000):
        await asyncio.sleep(max(0.0, begin + 0.02 * (i + 1) - time.monotonic()))
        piece = sound[i * PIECE : (i + 1) * PIECE]
        if piece:
            ended[0] = time.monotonic()
        await socket.send(piece or bytes(PIECE))
