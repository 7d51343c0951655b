"""The simulated user: plays the scenario's turns, some of them in reaction to the system's playback.

The user is causal: a frame depends on playback up to the frame's beginning only. The exception are turns anchored to the
closing of a reply, which know the end of a reply that is generated but not yet played, as listeners predict turn ends.
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

TURN_LIMIT = 64  # turns per scenario
STALL_NS = 4 * NS_PER_S  # silence after which a reply without a reply_end counts as ended


@dataclass(slots=True)
class ScheduledTurn:
    """A turn's audio at the system's input rate, its speech bounds in ns, and the sample at which it begins to play."""

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


def schedule(turn: Turn, rate_hz: int) -> ScheduledTurn:
    """The turn with its audio and speech bounds. Raises `FobenchError` for bad audio or bounds outside of it."""
    chunk = audio.load(turn.audio)
    detected = audio.speech_bounds(chunk)
    bounds = (
        detected[0] if turn.start_ns is None else turn.start_ns,
        detected[1] if turn.end_ns is None else turn.end_ns,
    )
    if not 0 <= bounds[0] < bounds[1] <= chunk.duration_ns + 1:
        raise FobenchError(
            f"Audio {turn.audio}: speech from {bounds[0]} to {bounds[1]} ns does not lie within its {chunk.duration_ns} ns."
        )
    return ScheduledTurn(turn, audio.resample(chunk, rate_hz), bounds)


class SimulatedUser:
    """The user of a scenario at `rate_hz`. `read` returns consecutive frames of the user's microphone channel.

    Raises `FobenchError` for a scenario of more than `TURN_LIMIT` turns.
    """

    def __init__(self, scenario: Scenario, rate_hz: int, echo: Echo | None = None) -> None:
        if len(scenario.turns) > TURN_LIMIT:
            raise FobenchError(f"Scenario {scenario.id} has {len(scenario.turns)} turns; the limit is {TURN_LIMIT}.")
        self.rate_hz, self._echo = rate_hz, echo
        self.turns = [schedule(turn, rate_hz) for turn in scenario.turns]
        self._frames: list[Samples] = []

    def read(self, start: int, count: int, playback: PlaybackBuffer) -> Samples:
        """Samples [start, start + count) of the user's channel: float32 [count]. Turns whose anchor has fired begin."""
        frame = np.zeros(count, dtype=np.float32)
        self._begin_turns(start, start + count, playback)
        for scheduled in self.turns:
            if scheduled.start is None or scheduled.end is None:
                break
            first, last = max(scheduled.start, start), min(scheduled.end, start + count)
            if first < last:
                frame[first - start : last - start] += scheduled.chunk.samples[
                    first - scheduled.start : last - scheduled.start
                ]
        if self._echo is not None:
            frame += self._echo.render(playback, start, count, self.rate_hz)
        np.clip(frame, -1.0, 1.0, out=frame)
        self._frames.append(frame)
        return frame

    @property
    def has_pending_turns(self) -> bool:
        """Whether some turn has not begun yet."""
        return any(scheduled.start is None for scheduled in self.turns)

    @property
    def end_ns(self) -> int:
        """The end of the last turn that has begun, in ns; 0 if none has."""
        return max((samples_to_ns(s.end, self.rate_hz) for s in self.turns if s.end is not None), default=0)

    @property
    def due_ns(self) -> int | None:
        """The start of the next turn in ns if it does not depend on the system; else, or without a next turn, None."""
        index = next((i for i, scheduled in enumerate(self.turns) if scheduled.start is None), None)
        if index is None:
            return None
        anchor, before = self.turns[index].turn.anchor, self.turns[index - 1].end if index else 0
        if anchor.event == "start":
            return anchor.delay_ns
        if before is None:
            return None
        after = anchor.delay_ns if anchor.event == "turn_end" else anchor.or_after_ns
        return None if after is None else samples_to_ns(before, self.rate_hz) + after

    def audio_so_far(self) -> AudioChunk:
        """The user's complete channel so far."""
        return AudioChunk(np.concatenate([np.zeros(0, np.float32), *self._frames]), self.rate_hz)

    def utterances(self) -> tuple[Utterance, ...]:
        return tuple(s.utterance(i) for i, s in enumerate(self.turns) if s.start is not None)

    def _begin_turns(self, now: int, frame_end: int, playback: PlaybackBuffer) -> None:
        for index, scheduled in enumerate(self.turns):
            if scheduled.start is not None:
                continue
            due = self._due(index, now, playback)
            if due is None or due >= frame_end:
                return
            scheduled.start = max(due, now)

    def _due(self, index: int, now: int, playback: PlaybackBuffer) -> int | None:
        """The sample at which turn `index` begins, if it is known at sample `now`, else None."""
        anchor = self.turns[index].turn.anchor
        delay = ns_to_samples(anchor.delay_ns, self.rate_hz)
        previous = self.turns[index - 1] if index else None
        if anchor.event == "start":
            return delay
        if previous is None or previous.start is None or previous.end is None:
            return None
        if anchor.event == "turn_end":
            return previous.end + delay
        since = previous.end
        if anchor.event == "reply_end" and previous.turn.role not in ASKING_ROLES:
            since = previous.start  # a reply that continues during the turn also counts
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
