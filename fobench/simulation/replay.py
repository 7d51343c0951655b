"""The replay: runs one scenario with a system on a clock and records the trace.

User audio arrives in chunks at real-time pace. Between arrivals the system works one step at a time; after a step, all
chunks that have arrived meanwhile are pushed. Generated audio enters the playback buffer when its computation ends, and
the simulated user hears it from there.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Literal

from fobench.api.scenario import ASKING_ROLES, Scenario
from fobench.api.trace import Failure, Trace
from fobench.api.types import NS_PER_S, Action, AudioChunk, Event, EventKind, samples_to_ns
from fobench.errors import FobenchError, SystemFailure
from fobench.simulation.clock import Clock
from fobench.simulation.driver import Step, SystemDriver
from fobench.simulation.echo import Echo
from fobench.simulation.playback import PlaybackBuffer
from fobench.simulation.recording import Recording
from fobench.simulation.simulated_user import STALL_NS, SimulatedUser

TAIL_NS = NS_PER_S  # recorded after the end of all speech
OVERTIME_NS = 45 * NS_PER_S  # after the user's last turn: limit for a system that never stops
REPLY_AWAITED = (*ASKING_ROLES, "stop")  # roles of turns after which a reply is awaited
MOST_STEPS = 10_000  # of work between two chunks of audio, and at the end
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
    ended_replies: set[int] = field(default_factory=set)
    compute: dict[str, int] = field(
        default_factory=lambda: {"input_ns": 0, "output_ns": 0, "idle_ns": 0, "idle_steps": 0}
    )
    system_ns: int = 0
    generated: dict[int, int] = field(default_factory=dict)
    speak_decisions: int = 0
    position: int = 0  # samples of user audio pushed so far
    lag_ns: int = 0  # by which audio was handed over late, at most

    def run(self, chunk: int, until_audio: bool = False) -> None:
        """Pushes chunks of `chunk` samples until the conversation is over (`until_audio`: until the first audio, for a warm-up)."""
        while not self._is_over() and not (until_audio and self.generated):
            self.clock.wait_until(self._arrival_ns(chunk))
            now = self.clock.now_ns
            while self._arrival_ns(2 * chunk) <= now:  # all chunks that have arrived are pushed before the next step
                self._account(self._push(chunk, more=True))
            self._work(self._push(chunk), chunk)
        self._finish()

    def _arrival_ns(self, samples: int) -> int:
        """The arrival time of the last of the next `samples` samples, in ns."""
        return samples_to_ns(self.position + samples, self.user.rate_hz)

    def _push(self, chunk: int, more: bool = False) -> Step:
        samples = self.user.read(self.position, chunk, self.playback)
        audio_chunk = AudioChunk(samples, self.user.rate_hz, self.position)
        self.position += chunk
        self.lag_ns = max(self.lag_ns, self.clock.now_ns - samples_to_ns(self.position, self.user.rate_hz))
        return self.driver.push(audio_chunk, self.playback.position(self.clock.now_ns), more)

    def _work(self, step: Step, chunk: int) -> None:
        for _ in range(MOST_STEPS):
            if not self._account(step) or self.clock.now_ns >= self._arrival_ns(chunk):
                return
            step = self.driver.step()
        raise SystemFailure("endless", f"more than {MOST_STEPS:,} events for one chunk of audio")

    def _finish(self) -> None:
        step = self.driver.finish()
        for _ in range(MOST_STEPS):
            if not self._account(step):
                return
            step = self.driver.step()
        raise SystemFailure("endless", f"more than {MOST_STEPS:,} events after the last chunk of audio")

    def _account(self, step: Step) -> bool:
        """Accounts for a step's cost and records its event; returns False if there was no work left."""
        event, measured = step
        self.system_ns += measured
        try:
            cost = self.clock.spend(event, measured)
        except FobenchError as error:  # a step that the cost table lacks
            raise SystemFailure("bad_event", str(error)) from error
        self.compute[f"{_path(event)}_ns"] += cost
        if event is None:
            self.compute["idle_ns"] += cost
            self.compute["idle_steps"] += 1
            return False
        self._record(event, cost)
        return True

    def _record(self, event: Event, cost_ns: int) -> None:
        now = self.clock.time_of(event)
        data, media, playback_ns = dict(event.data), event.media_ns, None
        if event.kind == EventKind.DECISION:
            self._decide(data["action"], now)
        elif event.kind in (EventKind.TOKEN, EventKind.AUDIO, EventKind.REPLY_END):
            reply = data["reply"] = data.get("reply", max(0, self.speak_decisions - 1))
            if event.kind == EventKind.AUDIO:
                samples = data.pop("audio").samples
                media = samples_to_ns(self.generated.get(reply, 0), self.playback.rate_hz)
                self.generated[reply] = self.generated.get(reply, 0) + len(samples)
                playback_ns = self.playback.add(reply, samples, now)
                data["duration_ns"] = samples_to_ns(len(samples), self.playback.rate_hz)
            elif event.kind == EventKind.TOKEN:
                self.texts[reply] = self.texts.get(reply, "") + data.get("text", "")
            else:
                self.ended_replies.add(reply)
                self.playback.complete(reply)
        if media is None:
            media = samples_to_ns(self.position, self.user.rate_hz)
        self.events.append(Event(event.kind, data, media, now, playback_ns, cost_ns))

    def _decide(self, action: str, now: int) -> None:
        if action == Action.SPEAK:
            self.speak_decisions += 1
        elif action == Action.YIELD:
            self.playback.flush(now)
            self.ended_replies.update(self.generated, self.texts)
            for reply in self.generated:
                self.playback.complete(reply)

    def _is_over(self) -> bool:
        """Whether the conversation is over: all turns and replies have ended, or the patience is exceeded."""
        now = samples_to_ns(self.position, self.user.rate_hz)
        if not self.position or now < self.user.end_ns:
            return False
        if (due := self.user.due_ns) is not None and now <= due:  # a turn that is due independent of the system
            return False
        if now > self.user.end_ns + OVERTIME_NS:
            return True
        silent_ns = now - max(self.playback.end_ns, self.user.end_ns)
        if self.user.has_pending_turns or not self._has_reply():  # an anchor may still fire, a reply may still begin
            return silent_ns > self.scenario.patience_ns
        complete = self.ended_replies >= set(self.generated) | set(self.texts)
        return silent_ns > (TAIL_NS if complete else STALL_NS)

    def _has_reply(self) -> bool:
        """Whether a reply has begun to play since the last awaited turn (any reply, if there is no such turn).

        A reply that the system stopped does not count: the system may resume it or begin another one.
        """
        if self.playback.was_stopped:
            return False
        turns = self.scenario.turns
        awaited = [u.start_ns for u in self.user.utterances() if turns[u.turn].role in REPLY_AWAITED]
        return self.playback.last_start_ns >= (awaited[-1] if awaited else 0)


def _path(event: Event | None) -> str:
    """The path of a step's cost: input (VAD, ASR, turn-taking) or output; an event's data may set it."""
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
    """The recording of `scenario` replayed to the system of `driver`; a `SystemFailure` ends it and is part of the trace."""
    input_rate, output_rate, chunk = driver.rates()
    user, playback = SimulatedUser(scenario, input_rate, echo), PlaybackBuffer(output_rate, playback_delay_ns)
    state = Replay(scenario, driver, clock, user, playback)
    failure = None
    try:
        driver.open(scenario.seed)
        clock.start()  # a server is connected to before the user begins
        state.run(chunk, until_audio)
        driver.close()
    except SystemFailure as error:
        failure = Failure(error.kind, str(error))
        with contextlib.suppress(
            SystemFailure
        ):  # so that the next conversation does not begin with the end of this one
            driver.close()
    user_audio = state.user.audio_so_far()
    duration_ns = max(user_audio.duration_ns, TAIL_NS)
    trace = Trace(
        scenario=scenario,
        clock=clock_name,
        costs=costs_name,
        duration_ns=duration_ns,
        events=tuple(state.events),
        user=state.user.utterances(),
        replies=state.playback.replies(state.texts),
        compute={**state.compute, "lag_ns": state.lag_ns} if clock_name == "wall" else dict(state.compute),
        failure=failure,
    )
    system_audio = state.playback.render(0, duration_ns * output_rate // NS_PER_S)
    return Recording(trace, user_audio, AudioChunk(system_audio, output_rate), state.system_ns)
