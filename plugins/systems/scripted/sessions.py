"""Sessions of the scripted controls. Events wait in a queue until the harness asks for them."""

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

LONGEST_ECHO = 300 * INPUT_HZ  # samples that the echo control keeps


class ScriptedBehavior(Protocol):
    """What a session needs of its control; see `fobench_plugins.systems.scripted.systems` for the meanings. Times in ms."""

    hangover_ms: int
    hears: str | None

    @property
    def pace(self) -> str: ...

    @property
    def text(self) -> str: ...

    @property
    def decision_ms(self) -> int: ...

    @property
    def answer_after_ms(self) -> int: ...

    def wave(self) -> Samples: ...


class ControlSession:
    """A session of a silent control. Events wait in `pending` until they are asked for."""

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
        """The control's behavior after each chunk."""

    def heard(self, reply: int, samples: int) -> None:
        """Controls do not depend on playback."""

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
    """Answers each sound that ends after the control's own reply; sounds that end during the reply are ignored."""

    def __init__(self, control: ScriptedBehavior) -> None:
        super().__init__(control.hangover_ms)
        self.control = control
        self.saying: ScriptedReply | None = None
        self.count = 0  # replies begun
        self.begun_at = 0  # start of the latest reply, in input samples
        self.busy_until = 0  # end of the latest reply
        self.settled = 0  # end of the latest sound that has been handled
        self.decided = 0  # end of the latest sound with a decision to answer

    @property
    def talking(self) -> bool:
        return self.ear.position < self.busy_until

    def act(self) -> None:
        self.answer()
        self.speak()

    def answer(self) -> None:
        """Decide, and begin to speak, at the configured times after the end of a sound."""
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
        """Begin a reply, after `pause` input samples of silence, so that its sound begins at the exact time within the chunk."""
        silence = np.zeros(pause * OUTPUT_HZ // INPUT_HZ, dtype=np.float32)
        self.saying = ScriptedReply(
            self.count, self.ear.position, np.concatenate([silence, wave]), self.control.text.split(), endless
        )
        self.begun_at, self.busy_until = self.saying.start, self.saying.stop
        self.count += 1

    def reply_wave(self) -> Samples:
        """The audio of the next reply, at OUTPUT_HZ."""
        return self.control.wave()

    def speak(self) -> None:
        """Send as much of the reply as its pace allows."""
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
        """Yield: the rest of the reply is discarded."""
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
        """Whether input sample `at` is before the end of the next chunk."""
        return at < self.ear.position + CHUNK


class TalkingSession(ReplySession):
    """Talks from its first chunk to the end."""

    def act(self) -> None:
        if not self.count:
            self.decide()
            self.begin(self.reply_wave(), endless=True)
        self.speak()


class EchoSession(ReplySession):
    """Records the sound in progress, and plays the recording back: of a sound over `LONGEST_ECHO`, the end."""

    def __init__(self, control: ScriptedBehavior) -> None:
        super().__init__(control)
        self._recent: deque[Samples] = deque(
            maxlen=LONGEST_ECHO // CHUNK
        )  # the latest chunks; all but the last one whole

    def push(self, chunk: AudioChunk) -> Iterator[Event]:
        if not self.ear.sounding and self.ear.end <= self.settled:
            self._recent.clear()  # all that was heard has been answered
        self._recent.append(chunk.samples)
        return super().push(chunk)

    def reply_wave(self) -> Samples:
        heard = np.concatenate(self._recent)
        first = self.ear.position - len(heard)
        sound = heard[max(0, self.ear.onset - first) : max(0, self.ear.end - first)]
        return audio.resample(AudioChunk(sound, INPUT_HZ), OUTPUT_HZ).samples


class YieldSession(ReplySession):
    """Stops `yield_ms` after the onset of a sound over its reply: of any sound (`to_anything`), or of one that still lasts then."""

    def __init__(self, control: ScriptedBehavior, yield_ms: int, to_anything: bool) -> None:
        super().__init__(control)
        self._yield_after, self._to_anything = samples(yield_ms), to_anything
        self._intruder: int | None = None  # onset of the sound that may stop the reply
        self._known = -1  # onset of the latest sound that was considered

    def act(self) -> None:
        self._listen()
        super().act()

    def _listen(self) -> None:
        """Consider each sound over the reply once; stop at the end of the chunk nearest to the configured time."""
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
    """Calls `fail(self)` before chunk number `at_chunk` (from 0)."""

    def __init__(self, control: ScriptedBehavior, at_chunk: int, fail: Callable[[FailingSession], None]) -> None:
        super().__init__(control)
        self._at, self._fail = at_chunk * CHUNK, fail

    def push(self, chunk: AudioChunk) -> Iterator[Event]:
        if self.ear.position == self._at:
            self._fail(self)
        return super().push(chunk)
