"""`openai`, the vendor's Python client: one spoken question, one interruption-free reply, one answer by text."""

import asyncio
import base64
import json
import sys

import openai


def silence(ms):
    return bytes(2 * 24 * ms)


def tone(ms):
    import math

    return b"".join(int(9000 * math.cos(i * 0.1)).to_bytes(2, "little", signed=True) for i in range(24 * ms))


async def main(url):
    client = openai.AsyncOpenAI(
        base_url=f"{url}/v1".replace("ws", "http", 1), websocket_base_url=f"{url}/v1", api_key="x"
    )
    kinds, samples, transcript = [], 0, ""
    async with client.realtime.connect(model="test") as connection:
        await connection.session.update(
            session={"type": "realtime", "audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}
        )
        sending = asyncio.create_task(speak(connection))
        async with asyncio.timeout(20):
            async for event in connection:
                kinds.append(event.type)
                if event.type == "response.output_audio.delta":
                    samples += len(base64.b64decode(event.delta)) // 2
                elif event.type == "response.output_audio_transcript.delta":
                    transcript += event.delta
                elif event.type == "response.done":
                    break
        sending.cancel()
        await connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Which city?"}]}
        )
        await connection.response.create(response={"output_modalities": ["text"]})
        text = ""
        async with asyncio.timeout(10):
            async for event in connection:
                if event.type == "response.output_text.delta":
                    text += event.delta
                elif event.type == "response.done":
                    break
    print(
        json.dumps(
            {
                "client": f"openai {openai.__version__}",
                "events": sorted(set(kinds)),
                "samples": samples,
                "transcript": transcript,
                "text": text,
            }
        )
    )


async def speak(connection):
    sound = silence(200) + tone(500) + silence(20_000)
    for start in range(0, len(sound), 960):
        await connection.input_audio_buffer.append(audio=base64.b64encode(sound[start : start + 960]).decode())
        await asyncio.sleep(0.02)


asyncio.run(main(sys.argv[1]))
