"""A system that misbehaves in one way, in its 20th chunk or at another moment; `WAYS` has the ways."""

from __future__ import annotations

import decimal
import enum
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import UserDict
from pathlib import Path

import numpy as np

from fobench.api.types import Action, AudioChunk, Event, EventKind
from fobench.errors import FobenchError, SystemFailure
from fobench.execution.system_driver import LocalDriver

AT = 20  # chunk in which it misbehaves
RATE = 24_000


class TwoArguments(FobenchError):
    def __init__(self, first, second):
        super().__init__(f"{first}{second}")


class Unspeakable(Exception):
    def __str__(self):
        raise KeyboardInterrupt


class Loud(BaseException):
    pass


class Evil:
    def __eq__(self, other):
        raise RuntimeError("no comparison")

    def __len__(self):
        return -1

    __hash__ = None


class EvilText(str):
    __slots__ = ()

    def __str__(self):
        raise RuntimeError("no text")

    def __len__(self):
        return 10**9


class Deep(enum.IntEnum):
    ONE = 1


def recursive():
    made = []
    made.append(made)
    return made


def token(**data):
    return Event(EventKind.TOKEN, {"text": "x", **data})


def audio(samples, rate=RATE):
    return Event(EventKind.AUDIO, {"audio": AudioChunk(samples, rate)})


def raising(error):
    def act():
        raise error

    return act


def forever():
    while True:
        yield token()


def child():
    return subprocess.Popen(["sleep", "600"], start_new_session=True)


def fork(answers):
    if os.fork() == 0 and not answers:
        time.sleep(600)


def nested():
    return nested()


EVENTS = {  # way: (an event, the failure's kind; empty: harmless)
    "not an event": ("hello", "bad_event"),
    "none as data": (Event(EventKind.TOKEN, None), "bad_event"),
    "a list as data": (Event(EventKind.TOKEN, [1]), "bad_event"),
    "a mapping as data": (Event(EventKind.TOKEN, UserDict(text="x")), ""),
    "an unknown kind": (Event("nonsense", {}), "bad_event"),
    "a number as kind": (Event(7, {}), "bad_event"),
    "a kind as text": (Event("token", {"text": "x"}), ""),
    "bytes": (token(text=b"x"), "bad_event"),
    "not a number": (token(p=float("nan")), "bad_event"),
    "infinite": (token(p=[{"q": float("-inf")}]), "bad_event"),
    "a set": (token(p={1}), "bad_event"),
    "an object": (token(p=object()), "bad_event"),
    "an evil object": (token(p=Evil()), "bad_event"),
    "a function": (token(p=len), "bad_event"),
    "a scalar of numpy": (token(p=np.float32(0.5), q=np.int64(3), r=np.bool_(True)), ""),
    "an array of numpy": (token(p=np.zeros(3)), "bad_event"),
    "a decimal": (token(p=decimal.Decimal(1)), "bad_event"),
    "an enumeration": (token(p=Deep.ONE, q=Action.SPEAK), ""),
    "an evil text": (token(text=EvilText("abc")), ""),
    "a huge number": (token(p=10**30), "bad_event"),
    "a recursive list": (token(p=recursive()), "bad_event"),
    "a number as key": (token(p={1: 2}), "bad_event"),
    "half a character": (token(text="\ud800\x00\x1b]0;t\x07<script>"), ""),
    "half a character as key": (token(**{"\udfff": 1}), ""),
    "an endless text": (token(text="y" * 20_000_000), "bad_event"),
    "a transcript without text": (Event(EventKind.TRANSCRIPT, {}), "bad_event"),
    "a decision without action": (Event(EventKind.DECISION, {}), "bad_event"),
    "an unknown action": (Event(EventKind.DECISION, {"action": "explode"}), "bad_event"),
    "a list as action": (Event(EventKind.DECISION, {"action": []}), "bad_event"),
    "a text as probability": (Event(EventKind.STATE, {"p0": "high"}), "bad_event"),
    "no reply": (token(reply=None), "bad_event"),
    "a negative reply": (token(reply=-1), "bad_event"),
    "a fraction of a reply": (token(reply=0.5), "bad_event"),
    "true as a reply": (token(reply=True), "bad_event"),
    "a list as work": (token(work=["a"]), "bad_event"),
    "a text as time": (Event(EventKind.TOKEN, {"text": "x"}, "soon"), "bad_event"),
    "a negative time": (Event(EventKind.TOKEN, {"text": "x"}, -1), "bad_event"),
    "a fraction as time": (Event(EventKind.TOKEN, {"text": "x"}, 0.5), "bad_event"),
    "a time beyond all": (Event(EventKind.TOKEN, {"text": "x"}, 10**20), "bad_event"),
    "times that are the harness's": (Event(EventKind.TOKEN, {"text": "x"}, 0, -5, "x", None), ""),
    "audio without samples": (Event(EventKind.AUDIO, {}), "bad_audio"),
    "audio as a list": (audio([0.0]), "bad_audio"),
    "integers as audio": (audio(np.full(480, 9000, np.int16)), "bad_audio"),
    "complex audio": (audio(np.full(480, 1j)), "bad_audio"),
    "objects as audio": (audio(np.array([None])), "bad_audio"),
    "audio in two dimensions": (audio(np.zeros((2, 48), np.float32)), "bad_audio"),
    "audio that is not finite": (audio(np.full(480, np.inf, np.float32)), "bad_audio"),
    "audio at another rate": (audio(np.zeros(48, np.float32), 16_000), "bad_audio"),
    "audio at no rate": (audio(np.zeros(48, np.float32), "fast"), "bad_audio"),
    "an hour of audio": (audio(np.zeros(3600 * RATE, np.float32)), "bad_audio"),
    "no audio": (audio(np.zeros(0, np.float32)), ""),
    "loud audio": (audio(np.full(480, 1e30, np.float64)), ""),
    "audio of half precision": (audio(np.zeros(480, np.float16)), ""),
    "reversed audio": (audio(np.linspace(-1, 1, 480, dtype=np.float32)[::-1]), ""),
}
ACTIONS = {  # way: (what it does, the failure's kind; empty: harmless)
    "raises": (raising(ValueError("plain")), "raised"),
    "raises two arguments": (raising(TwoArguments("a", "b")), "raised"),
    "raises a failure": (raising(SystemFailure("hung", "says so")), "hung"),
    "raises a failure of no kind": (raising(SystemFailure(7, "says so")), "raised"),
    "raises what cannot be told": (raising(Unspeakable()), "raised"),
    "raises beside exceptions": (raising(Loud("loud")), "raised"),
    "raises an interrupt": (raising(KeyboardInterrupt()), "raised"),
    "raises the end of a generator": (raising(GeneratorExit()), "raised"),
    "raises the end": (raising(StopIteration(5)), "raised"),
    "raises several": (raising(ExceptionGroup("many", [ValueError("a"), TypeError("b")])), "raised"),
    "raises at length": (raising(RuntimeError("x" * 50_000_000)), "raised"),
    "raises half a character": (raising(RuntimeError("\ud800\x1b[31m")), "raised"),
    "has no memory": (raising(MemoryError()), "raised"),
    "recurses": (nested, "raised"),
    "exits": (lambda: sys.exit(3), "raised"),
    "exits at once": (lambda: os._exit(0), "died"),
    "kills itself": (lambda: os.kill(os.getpid(), signal.SIGSEGV), "died"),
    "ends its group": (lambda: os.killpg(0, signal.SIGKILL), "died"),
    "stops itself": (lambda: os.kill(os.getpid(), signal.SIGSTOP), "hung"),
    "sleeps": (lambda: time.sleep(600), "hung"),
    "forks": (lambda: fork(answers=False), ""),
    "forks and goes on twice": (lambda: fork(answers=True), ""),
    "starts a process": (child, ""),
    "starts a process and hangs": (lambda: (child(), time.sleep(600)), "hung"),
    "leaves a thread": (lambda: threading.Thread(target=time.sleep, args=(600,)).start(), ""),
    "prints": (lambda: (print("loud"), os.write(1, b"\x1b[2J"), os.write(2, b"\x1b[2J")), ""),
    "closes its files": (lambda: os.closerange(0, 200), "died"),
    "writes into the channel": (lambda: [os.write(fd, b"nonsense" * 9) for fd in sockets()], "died"),
    "goes elsewhere": (lambda: os.chdir("/"), ""),
    "loses its environment": (os.environ.clear, ""),
    "may open no file": (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0)), ""),
    "is impatient": (lambda: signal.setitimer(signal.ITIMER_REAL, 0.001), "died"),
    "computes with one digit": (lambda: setattr(decimal.getcontext(), "prec", 1), ""),
}
ELSEWHERE = {  # way: the failure's kind
    "endless": "endless",
    "endless at the end": "endless",
    "raises at opening": "raised",
    "opens nothing": "raised",
    "pushes nothing": "raised",
    "raises at closing": "raised",
    "sleeps at closing": "hung",
    "raises at the end": "raised",
    "an exit in the generator": "raised",
}
WAYS = {way: kind for ways in (EVENTS, ACTIONS) for way, (_, kind) in ways.items()} | ELSEWHERE
FAST = (
    *("raises two arguments", "raises what cannot be told", "exits at once", "not a number", "forks and goes on twice"),
    *("writes into the channel", "half a character", "endless", "raises at closing", "starts a process"),
)


def sockets():
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if entry.readlink().name.startswith("socket:"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


class MisbehavingSession:
    def __init__(self, way, active):
        self.way, self.active, self.chunks = way, active, 0

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.active and self.way == "raises at closing":
            raise ValueError("closing")
        if self.active and self.way == "sleeps at closing":
            time.sleep(600)

    def heard(self, reply, samples): ...

    def push(self, chunk):
        self.chunks += 1
        if self.way == "pushes nothing" and self.active:
            return None
        return self._act() if self.active and self.chunks == AT else iter(())

    def _act(self):
        if self.way == "endless":
            return forever()
        if self.way == "an exit in the generator":
            return (sys.exit(1) for _ in range(1))
        if self.way in ACTIONS:
            ACTIONS[self.way][0]()
        return iter([EVENTS[self.way][0] if self.way in EVENTS else token()])

    def finish(self):
        if self.active and self.way == "raises at the end":
            raise RuntimeError("end")
        return forever() if self.active and self.way == "endless at the end" else iter(())


class MisbehavingSystem:
    """Misbehaves in the conversation with seed 0 alone."""

    input_rate_hz, output_rate_hz, chunk = 16_000, RATE, 1_280

    def __init__(self, way):
        self.way = way

    def open(self, seed):
        if seed == 0 and self.way == "raises at opening":
            raise RuntimeError("opening")
        if seed == 0 and self.way == "opens nothing":
            return None
        return MisbehavingSession(self.way, seed == 0)


def driver(way):
    """A `LocalDriver` of the system, to be made in the system's process."""
    made = object.__new__(LocalDriver)
    made._system, made._session, made._work = MisbehavingSystem(way), None, iter(())
    return made
