"""Each contract of a system, broken once on purpose, is named."""

import numpy as np
import pytest

from fobench.api.types import Action, AudioChunk, Event, EventKind

pytestmark = pytest.mark.usefixtures("home")


class System:
    """Answers one second after its first loud chunk, with 0.2 s of tone; parts are replaced to break it."""

    input_rate_hz, output_rate_hz, chunk = 16_000, 24_000, 320

    def open(self, seed):
        return Session(self)

    def reply(self):
        wave = (0.1 * np.sin(np.arange(4_800) / 10)).astype(np.float32)
        yield Event(EventKind.DECISION, {"action": Action.SPEAK})
        yield Event(EventKind.TOKEN, {"text": "Hello.", "reply": 0})
        yield Event(EventKind.AUDIO, {"audio": AudioChunk(wave, 24_000), "reply": 0})
        yield Event(EventKind.REPLY_END, {"reply": 0})


class Session:
    def __init__(self, system):
        self.system, self.wait, self.pending = system, None, []

    def push(self, chunk):
        if self.wait is None and np.abs(chunk.samples).max() > 0.05:
            self.wait = 50
        elif self.wait is not None:
            self.wait -= 1
        if self.wait == 0:
            self.pending += self.system.reply()
        return self.drain()

    def drain(self):
        while self.pending:
            yield self.pending.pop(0)

    def heard(self, reply, samples): ...

    def finish(self):
        return self.drain()

    def __enter__(self):
        return self

    def __exit__(self, *exc): ...


def system(**parts):
    return type("Broken", (System,), parts)()


def reply_of(*events):
    return lambda self: iter(events)


def packet(samples, rate=24_000, **data):
    return Event(EventKind.AUDIO, {"audio": AudioChunk(samples, rate), "reply": 0, **data})


SOUND = np.full(100, 0.5, np.float32)


class Forgetful(Session):
    def push(self, chunk):
        return iter(list(super().push(chunk)))


class Lazy(Session):
    def push(self, chunk):
        yield from super().push(chunk)


class Leaky(System):
    """All sessions share their pending work."""

    def __init__(self):
        self.count = 0

    def reply(self):
        self.count += 1
        yield Event(EventKind.TOKEN, {"text": f"Hello {self.count}.", "reply": 0})


def test_a_good_system_has_no_findings(findings):
    assert findings("systems", system()) == {}


@pytest.mark.parametrize(
    ("parts", "check", "message"),
    [
        ({"chunk": 0}, "rates and chunk", "chunk must be an int > 0, not 0"),
        ({"input_rate_hz": 16e3}, "rates and chunk", "input_rate_hz must be an int > 0, not 16000.0"),
        ({"reply": reply_of("hello")}, "events", "event 0 is a str, not a fobench.api.types.Event"),
        ({"reply": reply_of(Event(EventKind.DECISION, {}))}, "events", "decision without a known action (None)"),
        ({"reply": reply_of(Event(EventKind.TOKEN))}, "events", "event 0 (token) has no data['text']"),
        ({"reply": reply_of(Event(EventKind.BUSY, media_ns=0.5))}, "events", "event 0: media_ns is 0.5"),
        ({"reply": reply_of(packet(SOUND.astype(float)))}, "audio", "samples must be float32, not float64"),
        ({"reply": reply_of(packet(SOUND[None]))}, "audio", "samples must be [T], not [1, 100]"),
        ({"reply": reply_of(packet(SOUND * np.nan))}, "audio", "not finite"),
        ({"reply": reply_of(packet(SOUND * 3))}, "audio", "must lie in [-1, 1]; its peak is 1.5"),
        ({"reply": reply_of(packet(SOUND, 16_000))}, "audio", "is at 16000 Hz, output_rate_hz is 24000"),
        ({"reply": reply_of(packet(SOUND, reply=1), packet(SOUND))}, "replies", "event 1: reply 0 after 1"),
        (
            {"reply": reply_of(Event(EventKind.REPLY_END, {"reply": 0}), packet(SOUND))},
            "replies",
            "event 1: audio of reply 0 after its reply_end",
        ),
        ({"open": lambda self, seed: Forgetful(self)}, "dropped iterators lose no work", "text is lost or changed"),
        ({"open": lambda self, seed: Lazy(self)}, "several chunks at once", "its session's push is a generator"),
        ({"answer": lambda self, history, seed: None}, "text route", "answer() must return a str, not NoneType"),
    ],
)
def test_what_is_wrong_with_a_system_is_told(findings, parts, check, message):
    assert message in findings("systems", system(**parts))[check]


def test_a_system_that_remembers_the_last_conversation_is_found(findings):
    found = findings("systems", Leaky())
    assert "event 0 differs the second time" in found["same seed, same events"]
    assert "conversations are independent" in found
    assert "after one that was closed in the middle" in found["closing discards state"]


def test_a_system_that_raises_is_found_with_its_place(findings):
    found = findings("systems", system(open=lambda self, seed: 1 / 0))
    assert found["silence"].startswith("raised ZeroDivisionError: division by zero at test_systems.py:")
