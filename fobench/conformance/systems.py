"""Conformance of systems: a session gets a spoken question in chunks, in several ways, and must give the same reply."""

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
from fobench.conformance import live_systems
from fobench.conformance.checks import Probe, need
from fobench.conformance.speech import need_count, need_sound, speech

LEAD_S = 0.5  # of silence before the question
WAIT_S = 6.0  # of silence after it, for the reply
SEED = 7
STEPS_PER_PUSH = 1  # steps of work taken per push before the iterator is dropped
CHUNKS_AT_ONCE = 3  # chunks pushed at once


def probes(system: System) -> Sequence[tuple[str, Probe]]:
    if getattr(system, "real_time", False) is True:
        return live_systems.probes(system)
    subject = _SystemProbes(system)
    return (
        ("rates and chunk", subject.rates),
        ("silence", subject.silence),
        ("events", subject.events),
        ("audio", subject.audio),
        ("replies", subject.replies),
        ("same seed, same events", subject.repeatable),
        ("playback reports", subject.playback_reports),
        ("dropped iterators lose no work", subject.dropped_iterators),
        ("several chunks at once", subject.chunks_at_once),
        ("conversations are independent", subject.interleaved),
        ("closing discards state", subject.closing),
        ("text route", subject.text_route),
    )


class _SystemProbes:
    """The probes of a system, and the conversation that they share."""

    def __init__(self, system: System) -> None:
        self.system = system

    @cached_property
    def question(self) -> Samples:
        """The user's channel: silence, a question, silence; a multiple of the chunk size."""
        rate, chunk = self.system.input_rate_hz, self.system.chunk
        spoken = audio.resample(speech()[0], rate).samples
        wave = np.concatenate([self._silent(LEAD_S), spoken, self._silent(WAIT_S)])
        return wave[: len(wave) // chunk * chunk]

    @cached_property
    def conversation(self) -> list[Event]:
        """The events of a conversation with the question."""
        return self.converse(self.question)

    def converse(self, wave: Samples, steps: int | None = None, report_playback: bool = False) -> list[Event]:
        """The events of a conversation. `steps`: steps per push before the iterator is dropped; `report_playback`: call `heard`."""
        events: list[Event] = []
        with self.system.open(SEED) as session:
            for chunk in self.chunks(wave):
                position = _playback_position(events) if report_playback else None
                if position:
                    session.heard(*position)
                events += _take_events(session.push(chunk), steps)
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
        return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)) or "none: it did not reply"

    def audio(self) -> str:
        total = 0
        events = [event for event in self.conversation if event.kind == EventKind.AUDIO]
        for index, event in enumerate(events):
            chunk = event.data.get("audio")
            need(isinstance(chunk, AudioChunk), f"audio event {index}: data['audio'] must be an AudioChunk")
            rate = chunk.rate_hz  # type: ignore[union-attr]  # `need` has raised
            expected = self.system.output_rate_hz
            need(rate == expected, f"audio event {index} is at {rate} Hz, output_rate_hz is {expected}")
            total += len(need_sound(chunk.samples, f"audio event {index}"))  # type: ignore[union-attr]  # `need` has raised
        need(total > 0, f"no audio within {WAIT_S:.0f} s of a spoken question: nothing can be measured")
        return f"{total / self.system.output_rate_hz:.2f} s of reply"

    def replies(self) -> str:
        """Reply numbers ascend from 0, and a reply has no events after its end."""
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
        return f"replies: {latest + 1}, ended: {len(ended)}"

    def repeatable(self) -> str:
        again = self.converse(self.question)
        need_same(self.conversation, again, "the second time")
        return f"{len(again)} events, twice"

    def playback_reports(self) -> str:
        return f"{len(self.converse(self.question, report_playback=True))} events"

    def dropped_iterators(self) -> str:
        """One step per push gives the same text, and the same amount of audio for each reply."""
        expected, pieces = self.conversation, self.converse(self.question, steps=STEPS_PER_PUSH)
        need(_texts(expected) == _texts(pieces), f"text is lost or changed: {_texts(expected)} became {_texts(pieces)}")
        before, after = _lengths(expected), _lengths(pieces)
        need(before.keys() == after.keys(), f"replies with audio: {sorted(before)} became {sorted(after)}")
        short = [reply for reply in before if after[reply] < 0.98 * before[reply]]
        need(not short, f"audio of reply {short} is lost: {before} samples became {after}")
        return f"{len(pieces)} events with {STEPS_PER_PUSH} step per push"

    def chunks_at_once(self) -> str:
        """Several chunks pushed before a step are all processed."""
        need(
            not inspect.isgeneratorfunction(self.system.open(SEED).push),
            "its session's push is a generator, so it takes a chunk in only at the next step: let push take the chunk in and "
            "return an iterator over the work (return self._work())",
        )
        events: list[Event] = []
        chunks = self.chunks(self.question)
        with self.system.open(SEED) as session:
            for number, chunk in enumerate(chunks, start=1):
                work = session.push(chunk)
                events += [] if number % CHUNKS_AT_ONCE and number < len(chunks) else work
            events += session.finish()
        expected, found = _lengths(self.conversation), _lengths(events)
        need(expected.keys() == found.keys(), f"replies with audio: {sorted(expected)} became {sorted(found)}")
        return f"{len(events)} events, {CHUNKS_AT_ONCE} chunks at a time"

    def interleaved(self) -> str:
        """Two concurrent conversations, one with the question and one with silence."""
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
        return "two at once equal each alone"

    def closing(self) -> str:
        """A conversation closed in the middle does not affect the next."""
        session = self.system.open(SEED)
        with session:
            for chunk in self.chunks(self.question)[: len(self.question) // self.system.chunk // 2]:
                _take_events(session.push(chunk), STEPS_PER_PUSH)
        need_same(self.conversation, self.converse(self.question), "after one that was closed in the middle")
        return "the next conversation equals the first"

    def text_route(self) -> str:
        if not isinstance(self.system, TextRoute):
            return "none: routes t2t and a2t2t will have no score"
        history = [{"role": "user", "content": "What is the capital of France?"}]
        answers = [self.system.answer(history, SEED) for _ in range(2)]
        need(isinstance(answers[0], str), f"answer() must return a str, not {type(answers[0]).__name__}")
        need(answers[0] == answers[1], f"the same question and seed gave {answers[0]!r} and {answers[1]!r}")
        return f"answers {answers[0][:60]!r}"

    def _silent(self, seconds: float) -> Samples:
        rate = self.system.input_rate_hz
        return np.zeros(max(self.system.chunk, int(seconds * rate)), dtype=np.float32)


def need_same(expected: Sequence[Event], found: Sequence[Event], when: str) -> None:
    """Raises `ContractViolation` naming the first event that differs."""
    for index, (one, other) in enumerate(zip(expected, found, strict=False)):
        need(
            _comparable(one) == _comparable(other), f"event {index} differs {when}: {_brief(one)}, then {_brief(other)}"
        )
    need(len(expected) == len(found), f"{len(expected)} events became {len(found)} {when}")


def _take_events(work: Any, steps: int | None) -> list[Event]:
    """The events of at most `steps` steps (None: all)."""
    if steps is None:
        return list(work)
    return [event for event in (next(work, None) for _ in range(steps)) if event is not None]


def _playback_position(events: Sequence[Event]) -> tuple[int, int] | None:
    """(reply number, samples played) of a listener without playback delay; None without audio."""
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
    """The reply text and the transcripts."""
    tokens = "".join(event.data["text"] for event in events if event.kind == EventKind.TOKEN)
    return [tokens, *(event.data["text"] for event in events if event.kind == EventKind.TRANSCRIPT)]


def _comparable(event: Event) -> tuple[Any, ...]:
    data = {key: value for key, value in event.data.items() if key != "audio"}
    chunk = event.data.get("audio")
    return event.kind, event.media_ns, data, audio.sha256(chunk.samples, chunk.rate_hz) if chunk else None


def _brief(event: Event) -> str:
    data = {key: value for key, value in event.data.items() if key != "audio"}
    return f"{event.kind} {data}" if data else str(event.kind)
