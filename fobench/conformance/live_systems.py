"""Conformance of systems that live in real time: one question at real-time pace must provoke a reply."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from fobench import audio
from fobench.api.components import System, TextRoute
from fobench.api.types import AudioChunk, Event, EventKind, Samples
from fobench.conformance.checks import Probe, need
from fobench.conformance.speech import need_count, speech
from fobench.simulation.event_check import checked_event

LEAD_S = 0.5  # of silence before the question
PATIENCE_S = 15.0  # for the first audio of the reply
REST_S = 2.0  # heard of it
SEED = 7


def probes(system: System) -> Sequence[tuple[str, Probe]]:
    subject = _LiveProbes(system)
    return (
        ("rates and chunk", subject.rates),
        ("real time", subject.real_time),
        ("reply", subject.reply),
        ("times", subject.times),
        ("text route", subject.text_route),
    )


class _LiveProbes:
    """The probes, and the conversation that they share."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.asked_ns = 0

    def rates(self) -> str:
        for name in ("input_rate_hz", "output_rate_hz", "chunk"):
            need_count(getattr(self.system, name, None), name)
        rate, chunk = self.system.input_rate_hz, self.system.chunk
        return f"{rate} Hz in, {self.system.output_rate_hz} Hz out, chunks of {1000 * chunk / rate:g} ms"

    def real_time(self) -> str:
        return "a run uses the wall clock; replies are not repeated, so they are not compared"

    def reply(self) -> str:
        lengths = [len(event.data["audio"].samples) for event in self.events if event.kind == EventKind.AUDIO]
        need(bool(lengths), f"no audio within {PATIENCE_S:.0f} s of a spoken question: nothing can be measured")
        return f"{sum(lengths) / self.system.output_rate_hz:.2f} s of audio in {len(lengths)} pieces"

    def times(self) -> str:
        """Events bear the time at which they came, in order."""
        stamps = [event.compute_ns for event in self.events]
        need(None not in stamps, "an event has no compute_ns: let fobench.api.live stamp it, by call.emit")
        known = [stamp for stamp in stamps if stamp is not None]
        need(known == sorted(known), "the times of the events do not ascend")
        first = next((e.compute_ns for e in self.events if e.kind == EventKind.AUDIO and e.compute_ns), self.asked_ns)
        return f"first audio {(first - self.asked_ns) / 1e6:.0f} ms after the question"

    def text_route(self) -> str:
        if not isinstance(self.system, TextRoute):
            return "none: routes t2t and a2t2t will have no score"
        answer = self.system.answer([{"role": "user", "content": "What is the capital of France?"}], SEED)
        need(isinstance(answer, str), f"answer() must return a str, not {type(answer).__name__}")
        return f"answers {answer[:60]!r}"

    @cached_property
    def events(self) -> list[Event]:
        """The events of a conversation with one question, up to `REST_S` of the reply."""
        rate, chunk = self.system.input_rate_hz, self.system.chunk
        question = audio.resample(speech()[0], rate).samples
        bounds = audio.audible_bounds(question, rate) or (0, len(question))
        lead = np.zeros(int(LEAD_S * rate), np.float32)
        wave = np.concatenate([lead, question])
        found: list[Event] = []
        with self.system.open(SEED) as session:
            start = time.perf_counter()
            self.asked_ns = time.perf_counter_ns() + int(1e9 * (len(lead) + bounds[1]) / rate)
            first_s, position = None, 0
            while (now := position / rate) < (len(wave) / rate + PATIENCE_S if first_s is None else first_s + REST_S):
                time.sleep(max(0.0, start + now - time.perf_counter()))
                work = session.push(AudioChunk(_piece(wave, position, chunk), rate, position))
                found += [checked_event(e, self.system.output_rate_hz, stamped=True) for e in work]
                if first_s is None and any(event.kind == EventKind.AUDIO for event in found):
                    first_s = now
                position += chunk
        return found


def _piece(wave: Samples, start: int, length: int) -> Samples:
    """`length` samples from `start` on; silence after the end."""
    piece = wave[start : start + length]
    return np.pad(piece, (0, length - len(piece)))
