"""The cascade: recogniser -> frozen LLM -> voice, streaming. The baseline that a speech-native system must beat.

Silero VAD decides when the user begins and ends. At the first pause the recogniser starts already; if the pause lasts, the
turn is the system's. The LLM is streamed token by token and the voice starts with the first clause. Sustained speech of the
user stops the reply, and the conversation's history keeps only what was heard of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from fobench import assets, plugins
from fobench.types import Action, AudioChunk, Backbone, Event, EventKind, Message, Recognizer, Samples, Voice
from fobench_plugins.systems.clauses import ClauseCutter, SpokenText, speakable
from fobench_plugins.systems.silero import RATE_HZ, WINDOW, Silero, SpeechDetector

CHUNK = 2 * WINDOW  # 64 ms
SPEECH_PROBABILITY = 0.5
PRE_ROLL = 10  # windows kept from before the onset, 320 ms
SYSTEM_PROMPT = (
    "You are a helpful voice assistant. Your answers are spoken aloud: keep them to one or two short sentences."
)


@dataclass(frozen=True, slots=True)
class Timing:
    """When the cascade acts, in windows of 32 ms."""

    onset: int  # speech that opens a turn
    eager: int  # silence after which transcription starts, in case the turn has ended
    end: int  # silence that ends the turn
    barge_in: int  # speech that stops a reply


class Cascade:
    """The system: its parts, shared by its sessions."""

    input_rate_hz = RATE_HZ
    chunk = CHUNK

    def __init__(
        self,
        backbone: Backbone,
        recognizer: Recognizer,
        voice: Voice,
        network: Silero,
        timing: Timing,
        about: Mapping[str, Any],
        system_prompt: str,
        max_tokens: int,
    ) -> None:
        self.backbone, self.recognizer, self.voice, self.network, self.timing = (
            backbone,
            recognizer,
            voice,
            network,
            timing,
        )
        self.output_rate_hz = voice.rate_hz
        self._about = about
        self._prompt: list[Message] = [{"role": "system", "content": system_prompt}] if system_prompt else []
        self._max_tokens = max_tokens
        self._complete: dict[tuple[int, ...], str] = {}  # greedy replies by prompt: the same prompt has the same reply

    def about(self) -> dict[str, Any]:
        parts = {"backbone": self.backbone, "recognizer": self.recognizer, "voice": self.voice}
        details = {name: part.about() for name, part in parts.items() if hasattr(part, "about")}
        return {**self._about, "parts": details, "parameter_hash": self.backbone.parameter_hash()}

    def open(self, seed: int) -> CascadeSession:
        return CascadeSession(self, seed)

    def stream(self, history: Sequence[Message], seed: int) -> Iterator[str]:
        """The reply to `history`, token by token; a reply that was generated to its end is remembered for `answer`."""
        messages = [*self._prompt, *history]
        pieces = []
        for piece in self.backbone.stream(messages, max_tokens=self._max_tokens, seed=seed):
            pieces.append(piece)
            yield piece
        self._complete[tuple(self.backbone.chat(messages))] = "".join(pieces)

    def answer(self, history: Sequence[Message], seed: int) -> str:
        """The text route, with the very prompt and decoding of the spoken one."""
        key = tuple(self.backbone.chat([*self._prompt, *history]))
        if key not in self._complete:
            for _ in self.stream(history, seed):
                pass
        return self._complete[key]


@dataclass(slots=True)
class Turn:
    """What is being heard of the user: windows since shortly before the onset."""

    windows: list[Samples] = field(default_factory=list)
    speech: int = 0  # windows of speech in it
    silence: int = 0  # windows of silence at its end
    transcript: str | None = None  # of everything so far; None once more was said
    ended: bool = False


@dataclass(slots=True)
class Reply:
    """What is being said: the text stream, and what has been voiced and heard of it."""

    number: int
    tokens: Iterator[str]
    cutter: ClauseCutter = field(default_factory=ClauseCutter)
    spoken: SpokenText = field(default_factory=SpokenText)
    clause: str | None = None  # whole, to be voiced next
    begun: bool = False  # a token has been generated
    generated: bool = False  # the text is complete
    ended: bool = False  # ... and voiced
    heard: int = 0  # samples


class CascadeSession:
    """One conversation."""

    def __init__(self, system: Cascade, seed: int) -> None:
        self._system, self._seed = system, seed
        self._detector = SpeechDetector(system.network)
        self._before: deque[Samples] = deque(maxlen=PRE_ROLL)
        self._history: list[Message] = []
        self._turn: Turn | None = None
        self._reply: Reply | None = None
        self._replies = 0
        self._events: deque[Event] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._reply = self._turn = None

    def heard(self, reply: int, samples: int) -> None:
        if self._reply is not None and self._reply.number == reply:
            self._reply.heard = samples

    def push(self, chunk: AudioChunk) -> Iterator[Event]:
        for window, probability in self._detector.push(chunk.samples):
            self._listen(window, probability >= SPEECH_PROBABILITY)
        yield from self._work()

    def finish(self) -> Iterator[Event]:
        return iter(())

    # ---- listening ---------------------------------------------------------------------------------------------------

    def _listen(self, window: Samples, speech: bool) -> None:
        if self._turn is None:
            self._before.append(window)
            if speech:
                self._turn = Turn(list(self._before), speech=1)
            return
        turn = self._turn
        turn.windows.append(window)
        if speech:
            turn.speech, turn.silence, turn.transcript = turn.speech + 1, 0, None
            if turn.speech == self._system.timing.onset:
                self._events.append(Event(EventKind.SPEECH_START))
        else:
            turn.silence += 1
        self._decide(turn)

    def _decide(self, turn: Turn) -> None:
        timing = self._system.timing
        if self._speaking() and turn.speech >= timing.barge_in:
            self._events.append(Event(EventKind.DECISION, {"action": Action.YIELD}))
            self._close_reply()
        if turn.speech < timing.onset or self._speaking():  # a click, or a murmur over the reply
            if turn.silence >= timing.eager:
                self._drop_turn()
        elif turn.silence >= timing.end and not turn.ended:
            turn.ended = True
            self._events.append(Event(EventKind.SPEECH_END))

    def _speaking(self) -> bool:
        """Whether a reply is under way: being made, or not heard to its end."""
        reply = self._reply
        return reply is not None and not (reply.ended and reply.heard >= reply.spoken.samples)

    def _drop_turn(self) -> None:
        assert self._turn is not None
        self._before.extend(self._turn.windows[-PRE_ROLL:])
        self._turn = None

    # ---- working: one unit a step, the most urgent first -------------------------------------------------------------

    def _work(self) -> Iterator[Event]:
        while (event := self._unit()) is not None:
            yield event

    def _unit(self) -> Event | None:
        if self._events:
            return self._events.popleft()
        if self._turn is not None and self._to_transcribe(self._turn):
            return self._transcribe(self._turn)
        if self._turn is not None and self._turn.ended:
            return self._take_turn(self._turn)
        if self._reply is not None and not self._reply.ended:
            return self._speak(self._reply)
        return None

    def _to_transcribe(self, turn: Turn) -> bool:
        timing = self._system.timing
        paused = turn.silence >= timing.eager and turn.speech >= timing.onset and not self._speaking()
        return turn.transcript is None and (paused or turn.ended)

    def _transcribe(self, turn: Turn) -> Event:
        heard = AudioChunk(np.concatenate(turn.windows), RATE_HZ)
        turn.transcript = self._system.recognizer.transcribe(heard).text.strip()
        return Event(EventKind.BUSY, {"work": "transcribe", "path": "input"})

    def _take_turn(self, turn: Turn) -> Event:
        """The turn is over: what was understood, and the decision to answer (or that there is nothing to answer)."""
        text = turn.transcript or ""
        self._drop_turn()
        if not text:
            return Event(EventKind.DECISION, {"action": Action.IGNORE})
        self._close_reply()
        self._history.append({"role": "user", "content": text})
        self._reply = Reply(self._replies, self._system.stream(self._history, self._seed))
        self._replies += 1
        self._events.append(Event(EventKind.DECISION, {"action": Action.SPEAK}))
        return Event(EventKind.TRANSCRIPT, {"text": text})

    def _speak(self, reply: Reply) -> Event:
        if reply.clause is not None:
            return self._voice(reply, reply.clause)
        if reply.generated:
            reply.ended = True
            return Event(EventKind.REPLY_END, {"reply": reply.number})
        token = next(reply.tokens, None)
        if token is None:
            reply.generated = True
            reply.clause = reply.cutter.rest()
            return Event(EventKind.BUSY, {"work": "last_token"})
        reply.clause = reply.cutter.push(token)
        work, reply.begun = ("token" if reply.begun else "first_token"), True
        return Event(EventKind.TOKEN, {"text": token, "reply": reply.number, "work": work})

    def _voice(self, reply: Reply, clause: str) -> Event:
        reply.clause = reply.cutter.push("")
        audio = self._system.voice.speak(speakable(clause), self._seed)
        reply.spoken.add(clause, len(audio.samples))
        return Event(EventKind.AUDIO, {"audio": audio, "reply": reply.number, "text": clause})

    def _close_reply(self) -> None:
        """The reply is over, said or cut off: the history keeps what was heard of it."""
        if self._reply is None:
            return
        if text := self._reply.spoken.heard(self._reply.heard):
            self._history.append({"role": "assistant", "content": text})
        self._reply = None


def cascade(
    backbone: str = "smollm2-135m",
    backbone_args: Mapping[str, Any] | None = None,
    recognizer: str = "faster-whisper",
    voice: str = "piper",
    device: str | None = None,
    dtype: str | None = None,
    system_prompt: str = SYSTEM_PROMPT,
    max_tokens: int = 48,
    onset_ms: int = 96,
    eager_ms: int = 192,
    end_ms: int = 608,
    barge_in_ms: int = 256,
) -> Cascade:
    """Recogniser -> frozen LLM -> voice.

    `onset_ms`: speech that opens a turn. `eager_ms`: silence after which transcription starts. `end_ms`: silence that ends
    the turn. `barge_in_ms`: speech that stops a reply. All are rounded to windows of 32 ms.
    """
    chosen = {key: value for key, value in {"device": device, "dtype": dtype}.items() if value}
    parts = {"backbone": backbone, "recognizer": recognizer, "voice": voice}
    made = {
        "backbone": plugins.create("backbones", backbone, {**chosen, **(backbone_args or {})}),
        "recognizer": plugins.create("recognizers", recognizer),
        "voice": plugins.create("voices", voice),
    }
    network = Silero(next(assets.get("silero-vad").glob("*.onnx")))
    windows = [max(1, round(ms * RATE_HZ / 1000 / WINDOW)) for ms in (onset_ms, eager_ms, end_ms, barge_in_ms)]
    return Cascade(
        **made,
        network=network,
        timing=Timing(*windows),
        about=parts,
        system_prompt=system_prompt,
        max_tokens=max_tokens,
    )
