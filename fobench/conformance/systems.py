"""Conformance of a system: its session hears a spoken question in chunks, in several ways, and must answer alike."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from fobench import audio
from fobench.api.components import System, TextRoute
from fobench.api.types import Action, AudioChunk, Event, EventKind, Samples
from fobench.conformance.checks import Probe, need
from fobench.conformance.speech import need_count, need_sound, speech

LEAD_S = 0.5  # of silence before the question
WAIT_S = 6.0  # of silence after it, for the reply
SEED = 7
ONE_STEP = 1  # steps of work that are asked for after each push, where the iterator is dropped
TOGETHER = 3  # chunks that come together


def probes(system: System) -> Sequence[tuple[str, Probe]]:
    subject = _SystemProbes(system)
    return (
        ("rates and chunk", subject.rates),
        ("silence", subject.silence),
        ("events", subject.events),
        ("audio", subject.audio),
        ("replies", subject.replies),
        ("same seed, same events", subject.repeatable),
        ("is told what was heard", subject.told),
        ("dropped iterators lose nothing", subject.dropped),
        ("chunks may come together", subject.together),
        ("conversations do not mix", subject.interleaved),
        ("closing forgets", subject.closing),
        ("text route", subject.text_route),
    )


class _SystemProbes:
    """The system and the conversations that its probes share."""

    def __init__(self, system: System) -> None:
        self.system = system

    @cached_property
    def question(self) -> Samples:
        """The user's channel: silence, a question, silence; whole chunks."""
        rate, chunk = self.system.input_rate_hz, self.system.chunk
        spoken = audio.resample(speech()[0], rate).samples
        wave = np.concatenate([self._silent(LEAD_S), spoken, self._silent(WAIT_S)])
        return wave[: len(wave) // chunk * chunk]

    @cached_property
    def conversation(self) -> list[Event]:
        """What the system does when it hears the question."""
        return self.converse(self.question)

    def converse(self, wave: Samples, steps: int | None = None, tell: bool = False) -> list[Event]:
        """Events of a whole conversation. `steps`: how many are asked for after each push before the iterator is dropped."""
        events: list[Event] = []
        with self.system.open(SEED) as session:
            for chunk in self.chunks(wave):
                heard = _heard(events) if tell else None
                if heard:
                    session.heard(*heard)
                events += _take(session.push(chunk), steps)
            if steps is not None:
                events += session.push(
                    AudioChunk(self._silent(0)[: self.system.chunk], self.system.input_rate_hz, len(wave))
                )
            events += session.finish()
        return events

    def chunks(self, wave: Samples) -> list[AudioChunk]:
        size, rate = self.system.chunk, self.system.input_rate_hz
        return [AudioChunk(wave[start : start + size], rate, start) for start in range(0, len(wave), size)]

    def rates(self) -> str:
        for name in ("input_rate_hz", "output_rate_hz", "chunk"):
            need_count(getattr(self.system, name, None), name)
        rate, chunk = self.system.input_rate_hz, self.system.chunk
        return f"{rate} Hz in, {self.system.output_rate_hz} Hz out, chunks of {1000 * chunk / rate:g} ms"

    def silence(self) -> str:
        size = self.system.chunk
        wave = self._silent(2.0)
        return f"{len(self.converse(wave[: len(wave) // size * size]))} events in 2 s of silence"

    def events(self) -> str:
        for index, event in enumerate(self.conversation):
            need(isinstance(event, Event), f"event {index} is a {type(event).__name__}, not a fobench.api.types.Event")
            need(isinstance(event.kind, EventKind), f"event {index} has the unknown kind {event.kind!r}")
            media = event.media_ns
            need(media is None or (isinstance(media, int) and media >= 0), f"event {index}: media_ns is {media!r}")
            if event.kind == EventKind.DECISION:
                action = event.data.get("action")
                need(action in list(Action), f"event {index}: decision without a known action ({action!r})")
            if event.kind in (EventKind.TOKEN, EventKind.TRANSCRIPT):
                need(isinstance(event.data.get("text"), str), f"event {index} ({event.kind}) has no data['text']")
        kinds = [str(event.kind) for event in self.conversation]
        return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)) or "none: it took no turn"

    def audio(self) -> str:
        total = 0
        for index, event in enumerate(self._of(EventKind.AUDIO)):
            chunk = event.data.get("audio")
            need(isinstance(chunk, AudioChunk), f"audio event {index}: data['audio'] must be an AudioChunk")
            rate = chunk.rate_hz  # type: ignore[union-attr]
            expected = self.system.output_rate_hz
            need(rate == expected, f"audio event {index} is at {rate} Hz, output_rate_hz is {expected}")
            total += len(need_sound(chunk.samples, f"audio event {index}"))  # type: ignore[union-attr]
        if not total:
            return "no reply was provoked, so there is nothing to check"
        return f"{total / self.system.output_rate_hz:.2f} s of reply"

    def replies(self) -> str:
        """Numbers from 0 up, one after another; nothing of a reply after its end."""
        latest, ended = -1, set()
        for index, event in enumerate(self.conversation):
            if event.kind not in (EventKind.AUDIO, EventKind.REPLY_END) or "reply" not in event.data:
                continue
            reply = event.data["reply"]
            need(isinstance(reply, int) and reply >= max(0, latest), f"event {index}: reply {reply!r} after {latest}")
            need(reply not in ended, f"event {index}: {event.kind} of reply {reply} after its reply_end")
            latest = reply
            if event.kind == EventKind.REPLY_END:
                ended.add(reply)
        return f"{latest + 1} replies, {len(ended)} ended"

    def repeatable(self) -> str:
        again = self.converse(self.question)
        need_same(self.conversation, again, "the second time")
        return f"{len(again)} events, twice"

    def told(self) -> str:
        return f"{len(self.converse(self.question, tell=True))} events"

    def dropped(self) -> str:
        """With one step a push, the same words must come, and the same audio of each reply."""
        whole, pieces = self.conversation, self.converse(self.question, steps=ONE_STEP)
        need(_texts(whole) == _texts(pieces), f"text is lost or changed: {_texts(whole)} became {_texts(pieces)}")
        before, after = _lengths(whole), _lengths(pieces)
        need(before.keys() == after.keys(), f"replies with audio: {sorted(before)} became {sorted(after)}")
        short = [reply for reply in before if after[reply] < 0.98 * before[reply]]
        need(not short, f"audio of reply {short} is lost: {before} samples became {after}")
        return f"{len(pieces)} events with {ONE_STEP} step a push"

    def together(self) -> str:
        """Several chunks handed over before a step: the system is to have heard all of them."""
        need(
            not inspect.isgeneratorfunction(self.system.open(SEED).push),
            "its session's push is a generator, so it hears a chunk only when it is asked for a step, and is deaf for that "
            "step: let push take the chunk in, and return an iterator over the work (return self._work())",
        )
        events: list[Event] = []
        chunks = self.chunks(self.question)
        with self.system.open(SEED) as session:
            for number, chunk in enumerate(chunks, start=1):
                work = session.push(chunk)
                events += [] if number % TOGETHER and number < len(chunks) else work
            events += session.finish()
        whole, found = _lengths(self.conversation), _lengths(events)
        need(whole.keys() == found.keys(), f"replies with audio: {sorted(whole)} became {sorted(found)}")
        return f"{len(events)} events, {TOGETHER} chunks at a time"

    def interleaved(self) -> str:
        """Two conversations at once: one hears the question, the other silence."""
        events: tuple[list[Event], list[Event]] = ([], [])
        with self.system.open(SEED) as first, self.system.open(SEED) as second:
            for chunk in self.chunks(self.question):
                events[0].extend(first.push(chunk))
                events[1].extend(second.push(AudioChunk(np.zeros_like(chunk.samples), chunk.rate_hz, chunk.start)))
            events[0].extend(first.finish())
            events[1].extend(second.finish())
        need_same(self.conversation, events[0], "beside a second conversation")
        alone = self.converse(np.zeros_like(self.question))
        need_same(alone, events[1], "in silence beside a conversation")
        return "two at once are as each alone"

    def closing(self) -> str:
        """Left in the middle, a conversation leaves nothing behind for the next."""
        session = self.system.open(SEED)
        with session:
            for chunk in self.chunks(self.question)[: len(self.question) // self.system.chunk // 2]:
                _take(session.push(chunk), ONE_STEP)
        need_same(self.conversation, self.converse(self.question), "after one that was left in the middle")
        return "the next conversation is as the first"

    def text_route(self) -> str:
        if not isinstance(self.system, TextRoute):
            return "none: routes t2t and a2t2t will have no score"
        history = [{"role": "user", "content": "What is the capital of France?"}]
        answers = [self.system.answer(history, SEED) for _ in range(2)]
        need(isinstance(answers[0], str), f"answer() must return a str, not {type(answers[0]).__name__}")
        need(answers[0] == answers[1], f"the same question and seed gave {answers[0]!r} and {answers[1]!r}")
        return f"answers {answers[0][:60]!r}"

    def _of(self, kind: EventKind) -> list[Event]:
        return [event for event in self.conversation if event.kind == kind]

    def _silent(self, seconds: float) -> Samples:
        rate = self.system.input_rate_hz
        return np.zeros(max(self.system.chunk, int(seconds * rate)), dtype=np.float32)


def need_same(expected: Sequence[Event], found: Sequence[Event], when: str) -> None:
    """Raises `Broken` naming the first event that differs."""
    for index, (one, other) in enumerate(zip(expected, found, strict=False)):
        need(
            _comparable(one) == _comparable(other), f"event {index} differs {when}: {_brief(one)}, then {_brief(other)}"
        )
    need(len(expected) == len(found), f"{len(expected)} events became {len(found)} {when}")


def _take(work: Any, steps: int | None) -> list[Event]:
    """The events of at most `steps` steps; the iterator is dropped after that."""
    if steps is None:
        return list(work)
    return [event for event in (next(work, None) for _ in range(steps)) if event is not None]


def _heard(events: Sequence[Event]) -> tuple[int, int] | None:
    """What a listener has heard, who hears each packet when it comes."""
    lengths = _lengths(events)
    if not lengths:
        return None
    latest = max(lengths)
    return latest, lengths[latest]


def _lengths(events: Sequence[Event]) -> dict[int, int]:
    """{reply: samples of audio}."""
    lengths: defaultdict[int, int] = defaultdict(int)
    for event in events:
        if event.kind == EventKind.AUDIO:
            lengths[event.data.get("reply", 0)] += len(event.data["audio"].samples)
    return dict(lengths)


def _texts(events: Sequence[Event]) -> list[str]:
    """What was written, and what was understood."""
    tokens = "".join(event.data["text"] for event in events if event.kind == EventKind.TOKEN)
    return [tokens, *(event.data["text"] for event in events if event.kind == EventKind.TRANSCRIPT)]


def _comparable(event: Event) -> tuple[Any, ...]:
    data = {key: value for key, value in event.data.items() if key != "audio"}
    chunk = event.data.get("audio")
    return event.kind, event.media_ns, data, audio.sha256(chunk.samples, chunk.rate_hz) if chunk else None


def _brief(event: Event) -> str:
    data = {key: value for key, value in event.data.items() if key != "audio"}
    return f"{event.kind} {data}" if data else str(event.kind)
