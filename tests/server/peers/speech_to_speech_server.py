"""`speech-to-speech` (Hugging Face): its own WebSocket router and Realtime service, around queues that this program serves.

In the place of its models stands a level detector, and a reply of one sentence and a tone. Prints its port, then serves.
"""

import asyncio
import queue
import socket
import sys
import threading

import numpy as np
import uvicorn
from speech_to_speech.api.openai_realtime.pipeline_unit import PipelineUnit
from speech_to_speech.api.openai_realtime.service import RealtimeService
from speech_to_speech.api.openai_realtime.websocket_router import create_app
from speech_to_speech.pipeline.cancel_scope import CancelScope
from speech_to_speech.pipeline.control import is_control_message
from speech_to_speech.pipeline.events import (
    AssistantOutputEvent,
    AssistantResponseDoneEvent,
    SpeechStartedEvent,
    SpeechStoppedEvent,
    TokenUsageEvent,
    TranscriptionCompletedEvent,
)
from speech_to_speech.pipeline.messages import AUDIO_RESPONSE_DONE, AudioOutput

RATE_HZ, CHUNK = 16_000, 512
LOUD = 300  # of 16-bit samples, RMS
QUIET_CHUNKS = 7  # 224 ms: the silence that ends a turn
UNITS = 1  # sessions: it is free again a moment after its client has left, for which the next one has to wait
SAYS, HEARS = "It is Paris.", "Which city?"


def make_unit(index):
    prompts, listen = queue.Queue(), threading.Event()
    listen.set()
    return PipelineUnit(
        index=index,
        service=RealtimeService(prompts, listen),
        cancel_scope=CancelScope(),
        should_listen=listen,
        response_playing=threading.Event(),
        input_queue=queue.Queue(),
        output_queue=queue.Queue(),
        text_output_queue=queue.Queue(),
        text_prompt_queue=prompts,
        handlers=[],
    )


def detect(unit):
    """The detector and recognizer: 512 samples at a time."""
    speaking, quiet, position = False, 0, 0
    while True:
        chunk = unit.input_queue.get()
        if is_control_message(chunk):  # the session's end travels through all stages
            speaking, quiet, position = False, 0, 0
            unit.text_prompt_queue.put(chunk)
            continue
        samples = np.frombuffer(chunk if isinstance(chunk, bytes) else chunk[0], "<i2").astype(float)
        position += len(samples)
        loud = np.sqrt(np.mean(samples**2)) > LOUD
        quiet = 0 if loud else quiet + 1
        at_ms = position * 1000 // RATE_HZ
        if loud and not speaking:
            speaking = True
            unit.text_output_queue.put(SpeechStartedEvent(audio_start_ms=at_ms))
        elif speaking and quiet >= QUIET_CHUNKS:
            speaking = False
            unit.text_output_queue.put(SpeechStoppedEvent(audio_end_ms=at_ms))
            unit.text_output_queue.put(TranscriptionCompletedEvent(transcript=HEARS))


def answer(unit, reply_ms):
    """The LLM and voice: each request for a response is answered by the sentence and the tone."""
    tone = np.round(8000 * np.cos(np.arange(reply_ms * RATE_HZ // 1000) * 0.1)).astype("<i2")
    while True:
        request = unit.text_prompt_queue.get()
        if is_control_message(request):
            unit.output_queue.put(request)
            continue
        tags = {"response_key": request.response_key, "cancel_generation": unit.cancel_scope.generation}
        asked = request.response and request.response.output_modalities
        unit.output_queue.put(AssistantOutputEvent(text=SAYS, **tags))
        for start in range(0, 0 if asked == ["text"] else len(tone), CHUNK):
            unit.output_queue.put(AudioOutput(audio=tone[start : start + CHUNK].tobytes(), **tags))
        unit.output_queue.put(TokenUsageEvent(input_tokens=11, output_tokens=5, **tags))
        unit.output_queue.put(AssistantResponseDoneEvent(**tags))
        unit.output_queue.put(AudioOutput(audio=AUDIO_RESPONSE_DONE, **tags))


async def main(reply_ms):
    units = [make_unit(index) for index in range(UNITS)]
    for unit in units:
        for work in ((detect, unit), (answer, unit, reply_ms)):
            threading.Thread(target=work[0], args=work[1:], daemon=True).start()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(create_app(units, threading.Event()), log_level="warning"))
        print(listening.getsockname()[1], flush=True)
        await server.serve(sockets=[listening])


asyncio.run(main(int(sys.argv[1])))
