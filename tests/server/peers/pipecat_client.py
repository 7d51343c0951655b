"""`pipecat-ai`: a pipeline around its OpenAIRealtimeLLMService, one spoken question."""

import asyncio
import json
import math
import sys
from importlib.metadata import version

from loguru import logger
from pipecat.frames.frames import InputAudioRawFrame, TTSAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineTask
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService

logger.remove()


class Collector(FrameProcessor):
    def __init__(self):
        super().__init__()
        self.kinds, self.samples, self.last = set(), 0, None

    async def process_frame(self, frame, direction: FrameDirection):
        await super().process_frame(frame, direction)
        self.kinds.add(type(frame).__name__)
        if isinstance(frame, TTSAudioRawFrame):
            self.samples += len(frame.audio) // 2
            self.last = asyncio.get_running_loop().time()
        await self.push_frame(frame, direction)


def tone(ms):
    return b"".join(int(9000 * math.cos(i * 0.1)).to_bytes(2, "little", signed=True) for i in range(24 * ms))


async def main(url):
    service = OpenAIRealtimeLLMService(api_key="x", base_url=f"{url}/v1/realtime")
    collector = Collector()
    task = PipelineTask(Pipeline([service, collector]))
    running = asyncio.create_task(PipelineRunner(handle_sigint=False).run(task))
    await asyncio.sleep(1)
    sound = bytes(9600) + tone(500) + bytes(960_000)
    for start in range(0, len(sound), 960):
        await task.queue_frame(InputAudioRawFrame(audio=sound[start : start + 960], sample_rate=24_000, num_channels=1))
        await asyncio.sleep(0.02)
        if collector.last and asyncio.get_running_loop().time() > collector.last + 1.5:
            break
    await task.cancel()
    await running
    print(
        json.dumps(
            {
                "client": f"pipecat-ai {version('pipecat-ai')}",
                "events": sorted(collector.kinds),
                "samples": collector.samples,
            }
        )
    )


asyncio.run(main(sys.argv[1]))
