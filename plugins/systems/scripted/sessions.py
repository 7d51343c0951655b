"""Conversations with the scripted controls. Events wait in a queue until the runner asks for them: none is ever lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol, Self

import numpy as np

from fobench import audio
from fobench.api.types import Action, AudioChunk, Event, EventKind, Samples
from fobench_plugins.systems.scripted.audio import (
    CHUNK,
    INPUT_HZ,
    LEAD,
    NEVER,
    OUTPUT_HZ,
    ScriptedReply,
    SoundDetector,
    samples,
)


class ScriptedBehavior(Protocol):
    """What a session reads of its control; see `fobench_plugins.systems.scripted.systems` for the meanings. Times in ms."""

    hangover_ms: int
    hears: str | None
    pace: str

    @property
    def text(self) -> str: ...

    @property
    def decision_ms(self) -> int: ...

    @property
    def answer_after_ms(self) -> int: ...

    def wave(self) -> Samples: ...


class ControlSession:
    """A conversation with a control that says nothing. Events wait in `pending` until they are asked for."""

    def __init__(self, hangover_ms: int) -> None:
        self.ear = SoundDetector(samples(hangover_ms))
        self.pending: deque[Event] = deque()

    def push(self, chunk: AudioChunk) -> Iterator[Event]:
        change = self.ear.feed(chunk.samples)
        if change:
            self.emit(change)
        self.act()
        return self._drain()

    def act(self) -> None:
        """What the control does, now that a chunk has been heard."""

    def heard(self, reply: int, samples: int) -> None:
        """Nothing here depends on what was heard."""

    def finish(self) -> Iterator[Event]:
        return self._drain()

    def emit(self, kind: EventKind, **data: Any) -> None:
        self.pending.append(Event(kind, data))

    def _drain(self) -> Iterator[Event]:
        while self.pending:
            yield self.pending.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.pending.clear()


class ReplySession(ControlSession):
    """Answers each sound that ends after the control's own reply; what ends during that is not its business."""

    def __init__(self, control: ScriptedBehavior) -> None:
        super().__init__(control.hangover_ms)
        self.control = control
        self.saying: ScriptedReply | None = None
        self.count = 0  # replies begun
        self.begun_at = 0  # where the latest reply begins, in input samples
        self.busy_until = 0  # ... and ends
        self.settled = 0  # the end of the latest sound that needs nothing more
        self.decided = 0  # the end of the sound that it was last decided to answer

    @property
    def talking(self) -> bool:
        return self.ear.position < self.busy_until

    def act(self) -> None:
        self.answer()
        self.speak()

    def answer(self) -> None:
        """Decides and begins to speak when the time after the end of a sound has come."""
        end = self.ear.end
        if self.ear.sounding or end <= self.settled:
            return
        if end < self.busy_until:
            self.settled = end
            return
        if self.decided != end and self._due(end + samples(self.control.decision_ms)):
            self.decided = end
            self.decide()
        if self._due(begin := end + samples(self.control.answer_after_ms)):
            self.settled = end
            self.begin(self.reply_wave(), pause=begin - self.ear.position)

    def decide(self) -> None:
        if self.control.hears is not None:
            self.emit(EventKind.TRANSCRIPT, text=self.control.hears)
        self.emit(EventKind.DECISION, action=Action.SPEAK)
        for word in self.control.text.split():
            self.emit(EventKind.TOKEN, text=word + " ", reply=self.count)

    def begin(self, wave: Samples, pause: int = 0, endless: bool = False) -> None:
        """Begins a reply; `pause` input samples of silence first, so that sound comes at its moment within the chunk."""
        silence = np.zeros(pause * OUTPUT_HZ // INPUT_HZ, dtype=np.float32)
        self.saying = ScriptedReply(
            self.count, self.ear.position, np.concatenate([silence, wave]), self.control.text.split(), endless
        )
        self.begun_at, self.busy_until = self.saying.start, self.saying.stop
        self.count += 1

    def reply_wave(self) -> Samples:
        """The sound of the next reply, at OUTPUT_HZ."""
        return self.control.wave()

    def speak(self) -> None:
        """Makes as much of the reply as its pace allows."""
        saying = self.saying
        if saying is None:
            return
        played = (self.ear.position - saying.start) * OUTPUT_HZ // INPUT_HZ
        target = played + LEAD if self.control.pace == "realtime" or saying.endless else NEVER
        self._make(saying, target)

    def finish(self) -> Iterator[Event]:
        if self.saying:
            self._make(self.saying, self.saying.made if self.saying.endless else NEVER)
        if self.saying:
            self.emit(EventKind.REPLY_END, reply=self.saying.number)
            self.saying = None
        return super().finish()

    def stop(self) -> None:
        """Yields: what has not been played is not wanted any more."""
        self.emit(EventKind.DECISION, action=Action.YIELD)
        if self.saying:
            self.emit(EventKind.REPLY_END, reply=self.saying.number)
        self.saying, self.busy_until = None, self.ear.position

    def _make(self, saying: ScriptedReply, target: int) -> None:
        total = NEVER if saying.endless else len(saying.wave)
        while saying.made < min(target, total):
            self.pending.append(saying.packet())
        if saying.made >= total:
            self.emit(EventKind.REPLY_END, reply=saying.number)
            self.saying = None

    def _due(self, at: int) -> bool:
        """Whether input sample `at` is past, or will be before the next chunk has come."""
        return at < self.ear.position + CHUNK


class TalkingSession(ReplySession):
    """Talks from its first chunk to the end."""

    def act(self) -> None:
        if not self.count:
            self.decide()
            self.begin(self.reply_wave(), endless=True)
        self.speak()


class EchoSession(ReplySession):
    """Keeps what it hears, to say it back."""

    def __init__(self, control: ScriptedBehavior) -> None:
        super().__init__(control)
        self._heard: list[Samples] = []

    def push(self, chunk: AudioChunk) -> Iterator[Event]:
        self._heard.append(chunk.samples)
        return super().push(chunk)

    def reply_wave(self) -> Samples:
        sound = np.concatenate(self._heard)[self.ear.onset : self.ear.end]
        return audio.resample(AudioChunk(sound, INPUT_HZ), OUTPUT_HZ).samples


class YieldSession(ReplySession):
    """Stops talking `yield_ms` after a sound began over its reply: any sound (`to_anything`), or one that still lasts then."""

    def __init__(self, control: ScriptedBehavior, yield_ms: int, to_anything: bool) -> None:
        super().__init__(control)
        self._yield_after, self._to_anything = samples(yield_ms), to_anything
        self._intruder: int | None = None  # onset of the sound that may make it stop
        self._known = -1  # onset of the latest sound that was considered

    def act(self) -> None:
        self._listen()
        super().act()

    def _listen(self) -> None:
        """Considers each sound over the reply once; stops at the chunk's end that is nearest to the moment."""
        ear = self.ear
        gone = not self._to_anything and not ear.sounding
        if not self.talking or gone:
            self._intruder = None
        elif self._intruder is None and ear.onset >= self.begun_at and ear.onset > self._known and ear.end > ear.onset:
            self._intruder = self._known = ear.onset
        if self._intruder is not None and ear.position + CHUNK // 2 >= self._intruder + self._yield_after:
            self._intruder = None
            self.stop()


class FailingSession(ReplySession):
    """Calls `fail(self)` before it takes in chunk number `at_chunk` (from 0)."""

    def __init__(self, control: ScriptedBehavior, at_chunk: int, fail: Callable[[FailingSession], None]) -> None:
        super().__init__(control)
        self._at, self._fail = at_chunk * CHUNK, fail

    def push(self, chunk: AudioChunk) -> Iterator[Event]:
        if self.ear.position == self._at:
            self._fail(self)
        return super().push(chunk)
