"""A Pipecat app behind its own WebSocket transport: detects the end of speech by level, and answers with a tone after a delay."""

import asyncio
import math
import sys

from loguru import logger
from pipecat.frames.frames import InputAudioRawFrame, TTSAudioRawFrame, TTSStartedFrame, TTSStoppedFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.serializers.protobuf import ProtobufFrameSerializer
from pipecat.transports.websocket.server import SingleClientWebsocketServerParams, SingleClientWebsocketServerTransport

logger.remove()
INPUT_HZ, OUTPUT_HZ = 16_000, 24_000
QUIET = 300  # of 16-bit samples, root mean square: -41 dBFS
REPLY_MS = 800


class Answerer(FrameProcessor):
    """Answers `stop_ms` + `answer_ms` after the last loud audio."""

    def __init__(self, stop_ms, answer_ms):
        super().__init__()
        self.stop_ms, self.answer_ms, self.quiet_ms, self.speaking = stop_ms, answer_ms, 0.0, False

    async def process_frame(self, frame, direction: FrameDirection):
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            await self.hear(memoryview(frame.audio).cast("h"))
        else:
            await self.push_frame(frame, direction)

    async def hear(self, samples):
        if math.sqrt(sum(s * s for s in samples) / len(samples)) > QUIET:
            self.speaking, self.quiet_ms = True, 0.0
        elif self.speaking:
            self.quiet_ms += 1e3 * len(samples) / INPUT_HZ
            if self.quiet_ms >= self.stop_ms:
                self.speaking = False
                self.create_task(self.answer())

    async def answer(self):
        await asyncio.sleep(self.answer_ms / 1e3)
        await self.push_frame(TTSStartedFrame())
        tone = (round(9000 * math.cos(i * 0.1)) for i in range(OUTPUT_HZ * REPLY_MS // 1000))
        audio = b"".join(sample.to_bytes(2, "little", signed=True) for sample in tone)
        await self.push_frame(TTSAudioRawFrame(audio=audio, sample_rate=OUTPUT_HZ, num_channels=1))
        await self.push_frame(TTSStoppedFrame())


async def main(port, stop_ms, answer_ms):
    transport = SingleClientWebsocketServerTransport(
        SingleClientWebsocketServerParams(
            serializer=ProtobufFrameSerializer(), audio_in_enabled=True, audio_out_enabled=True
        ),
        host="127.0.0.1",
        port=port,
    )
    pipeline = Pipeline([transport.input(), Answerer(stop_ms, answer_ms), transport.output()])
    rates = PipelineParams(audio_in_sample_rate=INPUT_HZ, audio_out_sample_rate=OUTPUT_HZ)

    @transport.event_handler("on_websocket_ready")
    async def ready(transport):
        print("ready", flush=True)

    await PipelineRunner(handle_sigint=False).run(PipelineTask(pipeline, params=rates, idle_timeout_secs=None))


asyncio.run(main(*map(int, sys.argv[1:])))
