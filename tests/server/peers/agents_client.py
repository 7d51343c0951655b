"""`openai-agents`: its RealtimeRunner with one agent, one spoken question."""

import asyncio
import json
import math
import sys
from importlib.metadata import version

from agents.realtime import RealtimeAgent, RealtimeRunner


def tone(ms):
    return b"".join(int(9000 * math.cos(i * 0.1)).to_bytes(2, "little", signed=True) for i in range(24 * ms))


async def main(url):
    agent = RealtimeAgent(name="assistant", instructions="Be brief.")
    runner = RealtimeRunner(agent)
    kinds, samples = set(), 0
    async with await runner.run(model_config={"api_key": "x", "url": f"{url}/v1/realtime"}) as session:
        sending = asyncio.create_task(speak(session))
        async with asyncio.timeout(20):
            async for event in session:
                kinds.add(event.type)
                if event.type == "audio":
                    samples += len(event.audio.data) // 2
                elif event.type == "audio_end" and samples:
                    break
                elif event.type == "error":
                    raise RuntimeError(str(event.error))
        sending.cancel()
    print(
        json.dumps({"client": f"openai-agents {version('openai-agents')}", "events": sorted(kinds), "samples": samples})
    )


async def speak(session):
    sound = bytes(9600) + tone(500) + bytes(960_000)
    for start in range(0, len(sound), 960):
        await session.send_audio(sound[start : start + 960])
        await asyncio.sleep(0.02)


asyncio.run(main(sys.argv[1]))
