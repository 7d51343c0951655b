"""The simulated user: speaks the scenario's turns, some of them in reaction to what it hears of the system.

It is causal: what it says in a frame depends on playback up to the frame's beginning only, but for turns that are anchored to
a reply's closing: these know the end of a reply that is made and waits to be played, as a listener foresees it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fobench import audio
from fobench.api.scenario import ASKING_ROLES, Scenario, Turn
from fobench.api.trace import Utterance
from fobench.api.types import NS_PER_S, AudioChunk, Samples, ns_to_samples, samples_to_ns
from fobench.errors import FobenchError
from fobench.simulation.echo import Echo
from fobench.simulation.playback import PlaybackBuffer

TURN_LIMIT = 64  # turns in one scenario
STALL_NS = 4 * NS_PER_S  # silence after which a reply that was never said to end counts as ended


@dataclass(slots=True)
class ScheduledTurn:
    """A turn's audio at the system's input rate, its speech bounds inside, and the sample at which it begins to play."""

    turn: Turn
    chunk: AudioChunk
    bounds_ns: tuple[int, int]
    start: int | None = None

    @property
    def end(self) -> int | None:
        return None if self.start is None else self.start + len(self.chunk.samples)

    def utterance(self, index: int) -> Utterance:
        begin_ns = samples_to_ns(self.start or 0, self.chunk.rate_hz)
        return Utterance(index, begin_ns + self.bounds_ns[0], begin_ns + self.bounds_ns[1])


def line(turn: Turn, rate_hz: int) -> ScheduledTurn:
    """The turn's audio, loaded and measured. Raises `FobenchError` for bad audio or bounds outside of it."""
    chunk = audio.load(turn.audio)
    found = audio.speech_bounds(chunk)
    bounds = (found[0] if turn.start_ns is None else turn.start_ns, found[1] if turn.end_ns is None else turn.end_ns)
    if not 0 <= bounds[0] < bounds[1] <= chunk.duration_ns + 1:
        raise FobenchError(
            f"Audio {turn.audio}: speech from {bounds[0]} to {bounds[1]} ns does not lie within its {chunk.duration_ns} ns."
        )
    return ScheduledTurn(turn, audio.resample(chunk, rate_hz), bounds)


class SimulatedUser:
    """Plays a scenario at `rate_hz`. `read` gives the audio of consecutive frames, as a microphone near the user hears it."""

    def __init__(self, scenario: Scenario, rate_hz: int, echo: Echo | None = None) -> None:
        if len(scenario.turns) > TURN_LIMIT:
            raise FobenchError(f"Scenario {scenario.id} has {len(scenario.turns)} turns; the limit is {TURN_LIMIT}.")
        self.rate_hz, self._echo = rate_hz, echo
        self.lines = [line(turn, rate_hz) for turn in scenario.turns]
        self._said: list[Samples] = []

    def read(self, start: int, count: int, playback: PlaybackBuffer) -> Samples:
        """Samples [start, start + count) of the user's channel; turns whose anchor has fired by `start` begin."""
        frame = np.zeros(count, dtype=np.float32)
        self._begin_turns(start, start + count, playback)
        for spoken in self.lines:
            if spoken.start is None or spoken.end is None:
                break
            first, last = max(spoken.start, start), min(spoken.end, start + count)
            if first < last:
                frame[first - start : last - start] += spoken.chunk.samples[first - spoken.start : last - spoken.start]
        if self._echo is not None:
            frame += self._echo.of(playback, start, count, self.rate_hz)
        np.clip(frame, -1.0, 1.0, out=frame)
        self._said.append(frame)
        return frame

    @property
    def waiting(self) -> bool:
        """Whether a turn has not begun yet."""
        return any(spoken.start is None for spoken in self.lines)

    @property
    def end_ns(self) -> int:
        """When the last turn that has begun ends (0 if none has)."""
        return max((samples_to_ns(s.end, self.rate_hz) for s in self.lines if s.end is not None), default=0)

    @property
    def due_ns(self) -> int | None:
        """When the next turn begins, if that is settled whatever the system does; None if it is not, or nothing is to come."""
        index = next((i for i, spoken in enumerate(self.lines) if spoken.start is None), None)
        if index is None:
            return None
        anchor, before = self.lines[index].turn.anchor, self.lines[index - 1].end if index else 0
        if anchor.event == "start":
            return anchor.delay_ns
        if before is None:
            return None
        after = anchor.delay_ns if anchor.event == "turn_end" else anchor.or_after_ns
        return None if after is None else samples_to_ns(before, self.rate_hz) + after

    def said(self) -> AudioChunk:
        """The user's whole channel so far."""
        return AudioChunk(np.concatenate([np.zeros(0, np.float32), *self._said]), self.rate_hz)

    def utterances(self) -> tuple[Utterance, ...]:
        return tuple(s.utterance(i) for i, s in enumerate(self.lines) if s.start is not None)

    def _begin_turns(self, now: int, frame_end: int, playback: PlaybackBuffer) -> None:
        for index, spoken in enumerate(self.lines):
            if spoken.start is not None:
                continue
            due = self._due(index, now, playback)
            if due is None or due >= frame_end:
                return
            spoken.start = max(due, now)

    def _due(self, index: int, now: int, playback: PlaybackBuffer) -> int | None:
        """The sample at which turn `index` is to begin, as far as can be known at sample `now`, or None."""
        anchor = self.lines[index].turn.anchor
        delay = ns_to_samples(anchor.delay_ns, self.rate_hz)
        previous = self.lines[index - 1] if index else None
        if anchor.event == "start":
            return delay
        if previous is None or previous.start is None or previous.end is None:
            return None
        if anchor.event == "turn_end":
            return previous.end + delay
        since = previous.end
        if anchor.event == "reply_end" and previous.turn.role not in ASKING_ROLES:
            since = previous.start  # a reply that goes on under it counts, too
        heard = playback.audible_ns(samples_to_ns(since, self.rate_hz), samples_to_ns(now, self.rate_hz))
        if heard is None:
            return (
                None if anchor.or_after_ns is None else previous.end + ns_to_samples(anchor.or_after_ns, self.rate_hz)
            )
        if anchor.event == "reply_audible":
            return ns_to_samples(heard[0], self.rate_hz) + delay
        if anchor.event == "reply_closing":
            closing = playback.closing_ns
            if closing is None and samples_to_ns(now, self.rate_hz) > playback.end_ns + STALL_NS:
                closing = playback.end_ns
            return None if closing is None else max(now, ns_to_samples(closing, self.rate_hz) - delay)
        quiet_since = max(ns_to_samples(heard[1], self.rate_hz), previous.end)
        return quiet_since + delay if now >= quiet_since + delay else None
