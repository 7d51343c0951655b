"""Generation of a reply, one unit of work at a time: a token of its text, the prefill of a segment, a packet of its audio."""

from __future__ import annotations

from fobench.api.types import AudioChunk, Event, EventKind
from reference_model.inference.engine import InferenceEngine
from reference_model.inference.llm_context import LLMContext
from reference_model.inference.reply import GeneratedReply, SpokenSegment

MOST_FRAMES = 16  # codec frames drawn in one unit of work


def next_piece(live: InferenceEngine, context: LLMContext, reply: GeneratedReply) -> Event:
    """The next piece of a reply, whose tokens enter `context`: audio while the playback buffer may run empty, else text, else the
    remaining audio. The order depends on what was heard so far; the text and the audio do not."""
    if reply.complete:
        reply.ended = True
        return Event(EventKind.REPLY_END, {"reply": reply.number})
    speakable = reply.speech is not None or bool(reply.waiting)
    if speakable and (reply.generated or reply.ahead_s < live.settings.ahead_s):
        return _speak(live, reply)
    return _generate(live, context, reply)


def _generate(live: InferenceEngine, context: LLMContext, reply: GeneratedReply) -> Event:
    """One token of the reply; the first includes the prefill."""
    first = not reply.tokens
    token, hidden = live.next_token(context, reply.tokens, reply.generator)
    if token is None:
        text, work = reply.finish(), "last_token"
    else:
        text, work = reply.push(token, hidden), "first_token" if first else "token"
    if not text:
        return Event(EventKind.BUSY, {"work": work, "reply": reply.number})
    return Event(EventKind.TOKEN, {"text": text, "reply": reply.number, "work": work})


def _speak(live: InferenceEngine, reply: GeneratedReply) -> Event:
    """The prefill of a segment, some codes of its next packet of audio, or the packet."""
    if reply.speech is None:
        segment = reply.waiting.popleft()
        reply.speech = live.speech(reply, segment)
        reply.spoken.append(SpokenSegment(segment, complete=reply.speech is None))
        return Event(EventKind.BUSY, {"work": "speech_prefill"})
    spoken = reply.spoken[-1]
    frames = live.settings.packets.size(len(reply.spoken) - 1, reply.speech.packets)
    if not reply.speech.draw(frames, MOST_FRAMES):
        return Event(EventKind.BUSY, {"work": "speech_tokens"})
    audio = reply.speech.packet(frames)
    text = spoken.segment.text if not spoken.samples else ""
    spoken.samples += len(audio)
    if reply.speech.done:
        reply.speech, spoken.complete = None, True
    if not len(audio):
        return Event(EventKind.BUSY, {"work": "speech_tokens"})
    chunk = AudioChunk(audio.float().clamp(-1, 1).cpu().numpy(), reply.rate_hz)
    return Event(EventKind.AUDIO, {"audio": chunk, "reply": reply.number, "text": text})
