"""A worker: one system and one judge, each in its own process, for one scenario after another.

The judge is idle while the system runs, so that only the system is measured.
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
from fobench.simulation.costs import costs_name
from fobench.storage.run_config import RunComponents, RunConfig

WARM_UP_PATIENCE_NS = 5 * NS_PER_S
JUDGE_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class ScenarioOutcome:
    """A scenario's trace and recording, and the time that its parts took (ns)."""

    trace: Trace
    stereo: Samples  # [T, 2]
    rate_hz: int
    system_ns: int
    judge_ns: int
    total_ns: int


class Worker:
    """`audio_metrics`: names of the metrics that measure on audio. `log`: the file for the output of system and judge."""

    def __init__(self, parts: RunComponents, config: RunConfig, audio_metrics: tuple[str, ...], log: Path) -> None:
        self._config, self._costs, self._echo = config, parts.costs, parts.echo
        driven = (parts.system, parts.costs is None)
        self._system = ProcessHost(LocalDriver, driven, time_limit_s=config.time_limit_s, log=log)
        judge = (parts.judge, audio_metrics)
        self._judge = ProcessHost(Judge, judge, time_limit_s=JUDGE_LIMIT_S, log=log) if parts.judge else None
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
        """Returns the descriptions of system and judge, e.g. {"system": {"backbone": ...}, "judge": {...}}."""
        return {"system": self._driver.about(), "judge": self._judge.call("about") if self._judge else {}}

    def warm_up(self, scenario: Scenario) -> None:
        """Replays a scenario up to the first audio and discards it: first calls are slower than all others."""
        if self._costs is None:
            impatient = replace(scenario, patience_ns=WARM_UP_PATIENCE_NS)
            replay.replay(impatient, self._driver, self._clock(), until_audio=True)

    def run(self, scenario: Scenario) -> ScenarioOutcome:
        """Replays the scenario, asks the text routes, judges. A failure of the system is recorded in the trace, not raised."""
        start = time.perf_counter_ns()
        recording = replay.replay(
            scenario,
            self._driver,
            self._clock(),
            clock_name=self._config.clock,
            costs_name=costs_name(self._costs),
            playback_delay_ns=self._config.playback_delay_ms * NS_PER_MS,
            echo=self._echo,
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
        """Ends both processes for good; called from another thread than the worker's."""
        self._system.close()
        if self._judge:
            self._judge.close()

    def _clock(self) -> Clock:
        return WallClock() if self._config.clock == "wall" else VirtualClock(self._costs)

    def _routes(self, trace: Trace) -> tuple[Trace, int]:
        """Asks the text routes, also after a failure: the question stays paired, as one lost on the speech-in routes."""
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
