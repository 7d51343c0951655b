"""The runner: replays one scenario to a system on a clock and records what happened.

User audio arrives chunk by chunk in real-time pace. Between arrivals the system works, one step at a time; a step that ends
after more chunks have arrived is the last before all of them are handed over. What the system says goes into the playback
buffer when its computation ends, and the simulated user hears it from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from fobench.api.scenario import ASKING_ROLES, Scenario
from fobench.api.trace import Failure, Trace
from fobench.api.types import NS_PER_S, Action, AudioChunk, Event, EventKind, samples_to_ns
from fobench.errors import SystemFailure
from fobench.simulation.clock import Clock
from fobench.simulation.driver import Step, SystemDriver
from fobench.simulation.echo import Echo
from fobench.simulation.playback import PlaybackBuffer
from fobench.simulation.recording import Recording
from fobench.simulation.simulated_user import STALL_NS, SimulatedUser

TAIL_NS = NS_PER_S  # recorded after everything has fallen silent
OVERTIME_NS = 45 * NS_PER_S  # from the user's last word: a system that never ends is stopped here
AWAITED = (*ASKING_ROLES, "stop")  # after these it is watched what the system says: an answer, or wrongly one
FINISH_STEPS = 10_000  # bound on the steps of `finish`
INPUT_KINDS = (EventKind.SPEECH_START, EventKind.SPEECH_END, EventKind.TRANSCRIPT, EventKind.DECISION, EventKind.STATE)


@dataclass(slots=True)
class Replay:
    """One scenario in progress."""

    scenario: Scenario
    driver: SystemDriver
    clock: Clock
    user: SimulatedUser
    playback: PlaybackBuffer
    events: list[Event] = field(default_factory=list)
    texts: dict[int, str] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    compute: dict[str, int] = field(
        default_factory=lambda: {"input_ns": 0, "output_ns": 0, "idle_ns": 0, "idle_steps": 0}
    )
    system_ns: int = 0
    generated: dict[int, int] = field(default_factory=dict)
    speaks: int = 0
    position: int = 0  # samples of user audio handed over

    def run(self, chunk: int, until_audio: bool = False) -> None:
        """Pushes chunks of `chunk` samples until the conversation is over (or, for a warm-up, sounds)."""
        while not self._over() and not (until_audio and self.generated):
            self.clock.wait_until(self._arrival_ns(chunk))
            now = self.clock.now_ns
            while self._arrival_ns(2 * chunk) <= now:  # all that have arrived are heard before the next step of work
                self._account(self._push(chunk, more=True))
            self._work(self._push(chunk), chunk)
        self._finish()

    def _arrival_ns(self, samples: int) -> int:
        """When the last of the next so many samples arrives."""
        return samples_to_ns(self.position + samples, self.user.rate_hz)

    def _push(self, chunk: int, more: bool = False) -> Step:
        samples = self.user.read(self.position, chunk, self.playback)
        arrived = AudioChunk(samples, self.user.rate_hz, self.position)
        self.position += chunk
        return self.driver.push(arrived, self.playback.heard(self.clock.now_ns), more)

    def _work(self, step: Step, chunk: int) -> None:
        while self._account(step) and self.clock.now_ns < self._arrival_ns(chunk):
            step = self.driver.step()

    def _finish(self) -> None:
        step = self.driver.finish()
        for _ in range(FINISH_STEPS):
            if not self._account(step):
                return
            step = self.driver.step()

    def _account(self, step: Step) -> bool:
        """Books a step's cost and records what it reported; False if there was nothing left to do."""
        event, measured = step
        self._check(event)
        self.system_ns += measured
        cost = self.clock.spend(event, measured)
        self.compute[f"{_path(event)}_ns"] += cost
        if event is None:
            self.compute["idle_ns"] += cost
            self.compute["idle_steps"] += 1
            return False
        self._record(event, cost)
        return True

    def _record(self, event: Event, cost_ns: int) -> None:
        now = self.clock.now_ns
        data, media, played = dict(event.data), event.media_ns, None
        if event.kind == EventKind.DECISION:
            self._decide(str(data.get("action")), now)
        elif event.kind in (EventKind.TOKEN, EventKind.AUDIO, EventKind.REPLY_END):
            reply = data["reply"] = int(data.get("reply", max(0, self.speaks - 1)))
            if event.kind == EventKind.AUDIO:
                samples = np.clip(data.pop("audio").samples, -1.0, 1.0).astype(np.float32, copy=False)
                media = samples_to_ns(self.generated.get(reply, 0), self.playback.rate_hz)
                self.generated[reply] = self.generated.get(reply, 0) + len(samples)
                played = self.playback.add(reply, samples, now)
                data["duration_ns"] = samples_to_ns(len(samples), self.playback.rate_hz)
            elif event.kind == EventKind.TOKEN:
                self.texts[reply] = self.texts.get(reply, "") + str(data.get("text", ""))
            else:
                self.ended.add(reply)
                self.playback.complete(reply)
        if media is None:
            media = samples_to_ns(self.position, self.user.rate_hz)
        self.events.append(Event(event.kind, data, media, now, played, cost_ns))

    def _decide(self, action: str, now: int) -> None:
        if action == Action.SPEAK:
            self.speaks += 1
        elif action == Action.YIELD:
            self.playback.flush(now)
            self.ended.update(self.generated, self.texts)
            for reply in self.generated:
                self.playback.complete(reply)

    def _check(self, event: Event | None) -> None:
        """Raises `SystemFailure` (bad_audio, bad_event) for what no loudspeaker could play and no trace could hold."""
        if event is not None and not isinstance(event, Event):
            raise SystemFailure("bad_event", f"push must yield fobench.api.types.Event, not {type(event).__name__}")
        if event is None or event.kind != EventKind.AUDIO:
            return
        chunk = event.data.get("audio")
        if not isinstance(chunk, AudioChunk) or not isinstance(chunk.samples, np.ndarray) or chunk.samples.ndim != 1:
            raise SystemFailure("bad_audio", "an audio event must carry data['audio']: AudioChunk with samples [T]")
        if chunk.rate_hz != self.playback.rate_hz:
            message = f"audio at {chunk.rate_hz} Hz from a system that declared output_rate_hz={self.playback.rate_hz}"
            raise SystemFailure("bad_audio", message)
        if not np.isfinite(chunk.samples).all():
            raise SystemFailure("bad_audio", "audio with values that are not finite (NaN or infinite)")

    def _over(self) -> bool:
        """Whether nothing more will happen: all said, all heard, or patience at an end."""
        now = samples_to_ns(self.position, self.user.rate_hz)
        if not self.position or now < self.user.end_ns:
            return False
        if (due := self.user.due_ns) is not None and now <= due:  # a turn that comes whatever the system does
            return False
        if now > self.user.end_ns + OVERTIME_NS:
            return True
        silent_ns = now - max(self.playback.end_ns, self.user.end_ns)
        if self.user.waiting or not self._answered():  # an anchor may still fire, a reply may still come
            return silent_ns > self.scenario.patience_ns
        complete = self.ended >= set(self.generated) | set(self.texts)
        return silent_ns > (TAIL_NS if complete else STALL_NS)

    def _answered(self) -> bool:
        """Whether a reply has begun to play since the user last asked or stopped one, or at all where there was neither.

        A reply that the system stopped is no answer: it may go on with it, or make another.
        """
        if self.playback.silenced:
            return False
        turns = self.scenario.turns
        awaited = [u.start_ns for u in self.user.utterances() if turns[u.turn].role in AWAITED]
        return self.playback.last_start_ns >= (awaited[-1] if awaited else 0)


def _path(event: Event | None) -> str:
    """Which path a step's cost belongs to: input (listening, understanding, deciding) or output; an event may say so."""
    if event is None:
        return "input"
    return "input" if event.kind in INPUT_KINDS or event.data.get("path") == "input" else "output"


def replay(
    scenario: Scenario,
    driver: SystemDriver,
    clock: Clock,
    *,
    clock_name: Literal["virtual", "wall"] = "virtual",
    costs_name: str = "measured",
    playback_delay_ns: int = 0,
    echo: Echo | None = None,
    until_audio: bool = False,
) -> Recording:
    """Replays `scenario` to the system behind `driver`; a `SystemFailure` ends it and is part of the trace."""
    input_rate, output_rate, chunk = driver.rates()
    user, playback = SimulatedUser(scenario, input_rate, echo), PlaybackBuffer(output_rate, playback_delay_ns)
    state = Replay(scenario, driver, clock, user, playback)
    failure = None
    try:
        driver.open(scenario.seed)
        state.run(chunk, until_audio)
        driver.close()
    except SystemFailure as error:
        failure = Failure(error.kind, str(error))
    said = state.user.said()
    duration_ns = max(said.duration_ns, TAIL_NS)
    trace = Trace(
        scenario=scenario,
        clock=clock_name,
        costs=costs_name,
        duration_ns=duration_ns,
        events=tuple(state.events),
        user=state.user.utterances(),
        replies=state.playback.replies(state.texts),
        compute=dict(state.compute),
        failure=failure,
    )
    heard = state.playback.render(0, duration_ns * output_rate // NS_PER_S)
    return Recording(trace, said, AudioChunk(heard, output_rate), state.system_ns)
