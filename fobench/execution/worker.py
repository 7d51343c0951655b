"""A worker: one system and one judge, each in its own process, taking scenarios one after another.

While the system runs nothing else of this worker does, so that what is measured is the system.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fobench import audio
from fobench.api.scenario import Scenario
from fobench.api.trace import Failure, Trace
from fobench.api.types import NS_PER_MS, NS_PER_S, AudioChunk, Samples
from fobench.errors import FobenchError, SystemFailure
from fobench.execution.judge import Judge
from fobench.execution.process_host import ProcessHost
from fobench.execution.remote_driver import RemoteDriver
from fobench.execution.system_driver import LocalDriver
from fobench.simulation import recording as recording_module
from fobench.simulation import replay, text_routes
from fobench.simulation.clock import Clock, VirtualClock, WallClock
from fobench.simulation.costs import CostTable, costs_name
from fobench.storage.run_config import RunConfig

WARM_UP_PATIENCE_NS = 5 * NS_PER_S
NO_JUDGE = "none"  # spoken replies are not listened to; what needs it is None with a reason
JUDGE_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class ScenarioOutcome:
    """A scenario's outcome and where the time went (ns)."""

    trace: Trace
    stereo: Samples  # [T, 2]
    rate_hz: int
    system_ns: int
    judge_ns: int
    total_ns: int


class Worker:
    """`listeners`: names of the metrics that measure on audio. `log`: what system and judge print."""

    def __init__(self, config: RunConfig, listeners: tuple[str, ...], costs: CostTable | None, log: Path) -> None:
        self._config, self._costs = config, costs
        limit = config.time_limit_s
        made = (config.system, config.system_options(), costs is None)
        self._system = ProcessHost(LocalDriver, made, time_limit_s=limit, log=log)
        judge = (config.judge, dict(config.judge_args), listeners)
        self._judge = (
            None if config.judge == NO_JUDGE else ProcessHost(Judge, judge, time_limit_s=JUDGE_LIMIT_S, log=log)
        )
        self._driver = RemoteDriver(self._system)

    def load(self) -> None:
        """Starts both processes. Raises `FobenchError` if the system or the judge cannot be loaded."""
        try:
            self._system.start()
            if self._judge:
                self._judge.start()
        except SystemFailure as error:
            raise FobenchError(
                f"Cannot load system {self._config.system!r} or judge {self._config.judge!r}: {error}"
            ) from error

    def about(self) -> dict[str, Any]:
        """What system and judge say of their parts, e.g. {"system": {"backbone": ...}, "judge": {...}}."""
        return {"system": self._driver.about(), "judge": self._judge.call("about") if self._judge else {}}

    def warm_up(self, scenario: Scenario) -> None:
        """Replays a scenario up to the first sound, for nothing: first calls are slower than all others."""
        if self._costs is None:
            hurried = replace(scenario, patience_ns=WARM_UP_PATIENCE_NS)
            replay.replay(hurried, self._driver, self._clock(), until_audio=True)

    def run(self, scenario: Scenario) -> ScenarioOutcome:
        """Replays, asks the text routes, judges. What goes wrong in the system is the trace's failure, not an error."""
        start = time.perf_counter_ns()
        recording = replay.replay(
            scenario,
            self._driver,
            self._clock(),
            clock_name=self._config.clock,
            costs_name=costs_name(self._costs),
            playback_delay_ns=self._config.playback_delay_ms * NS_PER_MS,
            echo=self._config.echo(),
        )
        trace, answer_ns = self._routes(recording.trace)
        trace, judge_ns = self._judged(trace, recording_module.reply_audio(recording))
        total = time.perf_counter_ns() - start
        both = recording_module.stereo(recording)
        return ScenarioOutcome(trace, both, recording.system.rate_hz, recording.system_ns + answer_ns, judge_ns, total)

    def stop(self) -> None:
        self._system.stop()
        if self._judge:
            self._judge.stop()

    def kill(self) -> None:
        """Ends both processes for good, from another thread than the one that works."""
        self._system.close()
        if self._judge:
            self._judge.close()

    def _clock(self) -> Clock:
        return WallClock() if self._config.clock == "wall" else VirtualClock(self._costs)

    def _routes(self, trace: Trace) -> tuple[Trace, int]:
        """Asks by text. Also after a failure: the question stays in the pairs, as one lost by ear."""
        start = time.perf_counter_ns()
        if not self._config.text_routes:
            return trace, 0
        try:
            trace = replace(trace, routes=text_routes.text_routes(trace, self._driver))
        except SystemFailure as error:
            why = Failure(error.kind, f"while answering by text: {error}")
            trace = replace(trace, failure=trace.failure or why)
        return trace, time.perf_counter_ns() - start

    def _judged(self, trace: Trace, reply: AudioChunk) -> tuple[Trace, int]:
        if self._judge is None:
            return trace, 0
        question = trace.scenario.question
        asked = audio.load(question.audio) if question and question.text else None
        try:
            heard, heard_ns = self._judge.call("hear", reply)
            floor, floor_ns = self._judge.call("hear", asked) if asked else (None, 0)
            measured, measured_ns = self._judge.call("measure", reply)
        except SystemFailure as error:
            raise FobenchError(f"The judge {self._config.judge!r} failed on {trace.id}: {error}") from error
        judged = replace(trace, judge={"reply": heard, "floor": floor}, measured=measured)
        return judged, heard_ns + floor_ns + measured_ns
