"""`livekit-plugins-openai`: its RealtimeModel without a LiveKit server, one spoken question."""

import asyncio
import json
import math
import sys
from importlib.metadata import version

from livekit import rtc
from livekit.plugins.openai.realtime import RealtimeModel


def tone(ms):
    return b"".join(int(9000 * math.cos(i * 0.1)).to_bytes(2, "little", signed=True) for i in range(24 * ms))


async def main(url):
    model = RealtimeModel(base_url=f"{url}/v1".replace("ws", "http", 1), api_key="x")
    session = model.session()
    kinds, samples, done = set(), 0, asyncio.Event()

    def generation(event):
        kinds.add("generation_created")
        tasks.append(asyncio.create_task(collect(event)))

    async def collect(event):
        nonlocal samples
        async for message in event.message_stream:
            async for frame in message.audio_stream:
                samples += frame.samples_per_channel
        done.set()

    tasks = []
    session.on("generation_created", generation)
    session.on("input_speech_started", lambda event: kinds.add("input_speech_started"))
    session.on("input_speech_stopped", lambda event: kinds.add("input_speech_stopped"))
    session.on("input_audio_transcription_completed", lambda event: kinds.add(f"transcript: {event.transcript}"))
    sending = asyncio.create_task(speak(session))
    await asyncio.wait_for(done.wait(), 20)
    sending.cancel()
    await session.aclose()
    print(
        json.dumps(
            {
                "client": f"livekit-plugins-openai {version('livekit-plugins-openai')}",
                "events": sorted(kinds),
                "samples": samples,
            }
        )
    )


async def speak(session):
    sound = bytes(9600) + tone(500) + bytes(960_000)
    for start in range(0, len(sound), 960):
        piece = sound[start : start + 960]
        session.push_audio(
            rtc.AudioFrame(data=piece, sample_rate=24_000, num_channels=1, samples_per_channel=len(piece) // 2)
        )
        await asyncio.sleep(0.02)


asyncio.run(main(sys.argv[1]))
