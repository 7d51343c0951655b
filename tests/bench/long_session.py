"""A long session: `python -m tests.bench.long_session --minutes 30` talks with a system in virtual time, as fast as it computes.

Prints, for every minute, the median time of a chunk and of a chunk that led to work, and the size of all that the session keeps.
Exit code 1 if the last minute's median is more than 5 % over the second's, or if it keeps more than in any earlier minute by 5 %.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch

from fobench.api.components import Session
from fobench.api.types import AudioChunk, Event, EventKind
from fobench.simulation.playback import PlaybackBuffer

RATE_HZ = 16_000
TALKS_S, WAITS_S = 1.5, 4.5  # how long the user talks and waits, in turn
LIMIT = 1.05
UNSHARED = (torch.nn.Module, type(sys), type)  # what is not of one session


@dataclass(frozen=True)
class Minute:
    """One minute of a session: medians of the time in ns, and sizes at its end."""

    chunk_ns: float
    working_ns: float  # of the chunks that led to an event
    numbers: int  # elements of tensors and arrays that the session keeps
    items: int  # of lists, queues and tables
    events: int


def user_audio(minutes: float, size: int) -> Iterator[AudioChunk]:
    """A user who talks (noise, which a loudness detector takes for speech) and waits, in turn."""
    rng, period = np.random.default_rng(0), round((TALKS_S + WAITS_S) * RATE_HZ)
    for start in range(0, round(minutes * 60 * RATE_HZ) // size * size, size):
        talks = start % period < TALKS_S * RATE_HZ
        samples = rng.normal(0, 0.2, size) if talks else np.zeros(size)
        yield AudioChunk(np.clip(samples, -1, 1).astype(np.float32), RATE_HZ, start)


def minutes_of(session: Session, chunk: int, output_rate_hz: int, minutes: float) -> Iterator[Minute]:
    """The minutes of a session whose replies are heard as fast as they play."""
    playback, spent, worked, events = PlaybackBuffer(output_rate_hz), [], [], 0
    per_minute = 60 * RATE_HZ // chunk
    with session:
        for number, audio in enumerate(user_audio(minutes, chunk), 1):
            now = audio.start * 1_000_000_000 // RATE_HZ
            if (heard := playback.position(now)) is not None:
                session.heard(*heard)
            begin = time.perf_counter_ns()
            made = list(session.push(audio))
            spent.append(time.perf_counter_ns() - begin)
            if made:
                worked.append(spent[-1])
            events += len(made)
            for event in made:
                _play(playback, event, now)
            if number % per_minute == 0:
                numbers, items = kept(session)
                yield Minute(median(spent), median(worked or [0]), numbers, items, events)
                spent, worked, events = [], [], 0


def _play(playback: PlaybackBuffer, event: Event, now: int) -> None:
    if event.kind == EventKind.AUDIO:
        playback.add(event.data.get("reply", 0), event.data["audio"].samples, now)
    elif event.kind == EventKind.DECISION and event.data["action"] == "yield":
        playback.flush(now)
    del playback._packets[:-50]  # what was played long ago


def kept(root: Any) -> tuple[int, int]:
    """(elements of tensors and arrays, items of containers) that can be reached from `root`, models left out."""
    numbers = items = 0
    seen, left = set(), [root]
    while left:
        value = left.pop()
        if id(value) in seen or isinstance(value, UNSHARED) or callable(value):
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor | np.ndarray):
            numbers += value.numel() if isinstance(value, torch.Tensor) else value.size
            continue
        inside: list[Any] = []
        if isinstance(value, dict):
            inside = list(value.values())
        elif hasattr(value, "__iter__") and hasattr(value, "__len__") and not isinstance(value, str | bytes):
            inside = list(value)
        items += len(inside)
        names = [name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())]
        left += inside + list(getattr(value, "__dict__", {}).values()) + [getattr(value, n, None) for n in names]
    return numbers, items


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--system", choices=["freeze-omni", "echo"], default="freeze-omni")
    arguments = parser.parse_args()
    session, chunk, rate = new_session(arguments.system)
    found: list[Minute] = []
    for minute in minutes_of(session, chunk, rate, arguments.minutes):
        found.append(minute)
        print(
            f"{len(found):3} min  {minute.chunk_ns / 1e6:7.3f} ms a chunk  {minute.working_ns / 1e6:7.3f} ms with work"
            f"  {minute.numbers:>10,} numbers  {minute.items:>7,} items  {minute.events} events",
            flush=True,
        )
    second, last = found[min(1, len(found) - 1)], found[-1]
    slower = max(last.chunk_ns / second.chunk_ns, last.working_ns / max(1, second.working_ns))
    print(f"last minute / second minute: {slower:.3f}; the limit is {LIMIT}")
    return int(slower > LIMIT)


def new_session(system: str) -> tuple[Session, int, int]:
    """(a session, samples of its chunk, its output rate) of a tiny untrained Freeze-Omni, or of the echo control."""
    if system == "echo":
        from fobench.api import registry

        control = registry.create("systems", "scripted:echo")
        return control.open(0), control.chunk, control.output_rate_hz
    from reference_model.inference.session import FreezeOmniSession
    from tests.support.live_talk import WINDOW, live

    engine = live()
    torch.set_num_threads(1)
    return FreezeOmniSession(engine, 0), WINDOW, engine.model.codec.sample_rate_hz


if __name__ == "__main__":
    sys.exit(main())
