"""A worker: one system and one judge, each in its own process, for one scenario after another.

The judge is idle while the system runs, so that only the system is measured.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fobench import audio
from fobench.api.scenario import Scenario
from fobench.api.trace import Failure, Trace
from fobench.api.types import NS_PER_MS, NS_PER_S, AudioChunk, Samples
from fobench.atomic_files import open_append
from fobench.errors import FobenchError, SystemFailure, describe_error
from fobench.execution.judge import Judge
from fobench.execution.remote_driver import RemoteDriver
from fobench.execution.system_driver import LocalDriver
from fobench.process_host import LOAD_LIMIT_S, ProcessHost
from fobench.simulation import recording as recording_module
from fobench.simulation import replay, text_routes
from fobench.simulation.clock import Clock, VirtualClock, WallClock
from fobench.simulation.costs import costs_name
from fobench.storage.run_config import RunComponents, RunConfig

WARM_UP_PATIENCE_NS = 5 * NS_PER_S
LOAD_STEPS = 24  # time for loading the system, in time limits of a step
JUDGE_LIMIT_S = 600.0
JUDGE_LOSSES = 3  # processes of the judge lost in succession, after which it is not asked again
JUDGE_PROBLEM = "problem"  # key of a trace's `judge` that says why something in it is missing


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
        self._config, self._costs, self._echo, self._log = config, parts.costs, parts.echo, log
        driven = (parts.system, parts.costs is None)
        load_limit_s = min(LOAD_LIMIT_S, max(60.0, LOAD_STEPS * config.time_limit_s))
        self._system = ProcessHost(
            LocalDriver, driven, time_limit_s=config.time_limit_s, load_limit_s=load_limit_s, log=log
        )
        judge = (parts.judge, audio_metrics)
        self._judge = ProcessHost(Judge, judge, time_limit_s=JUDGE_LIMIT_S, log=log) if parts.judge else None
        self._driver = RemoteDriver(self._system)

    def load(self) -> None:
        """Starts both processes. Raises `FobenchError` if the system or the judge cannot be loaded."""
        try:
            self._driver.rates()
            if self._judge:
                self._judge.start()
        except SystemFailure as error:
            raise FobenchError(
                f"Cannot load system {self._config.system!r} or judge {self._config.judge!r}: {error}"
            ) from error

    def about(self) -> dict[str, Any]:
        """Returns the descriptions of system and judge, e.g. {"system": {"backbone": ...}, "judge": {...}}."""
        hosts = {"system": self._system, "judge": self._judge}
        return {name: _described(host) if host else {} for name, host in hosts.items()}

    def warm_up(self, scenario: Scenario) -> None:
        """Replays a scenario up to the first audio and discards it: first calls are slower than all others."""
        if self._costs is None:
            impatient = replace(scenario, patience_ns=WARM_UP_PATIENCE_NS)
            with contextlib.suppress(Exception):  # the scenario's own run tells
                replay.replay(impatient, self._driver, self._clock(), until_audio=True)

    def run(self, scenario: Scenario) -> ScenarioOutcome:
        """Replays the scenario, asks the text routes, judges. Whatever fails is recorded in the trace, not raised."""
        start = time.perf_counter_ns()
        recording = self._recorded(scenario)
        trace, answer_ns = self._routes(recording.trace)
        trace, judge_ns = self._judged(trace, recording_module.reply_audio(recording))
        total = time.perf_counter_ns() - start
        both = recording_module.stereo(recording)
        return ScenarioOutcome(trace, both, recording.system.rate_hz, recording.system_ns + answer_ns, judge_ns, total)

    def _recorded(self, scenario: Scenario) -> recording_module.Recording:
        """The recording of a scenario; one without events if it cannot be played at all, e.g. because its audio is missing."""
        try:
            return replay.replay(
                scenario,
                self._driver,
                self._clock(),
                clock_name=self._config.clock,
                costs_name=costs_name(self._costs),
                playback_delay_ns=self._config.playback_delay_ms * NS_PER_MS,
                echo=self._echo,
            )
        except FobenchError as error:
            failure = Failure("bad_scenario", str(error))
        except Exception as error:  # the other scenarios are not lost for an error of the harness itself
            with contextlib.suppress(OSError), open_append(self._log) as log:
                log.write(traceback.format_exc().encode(errors="backslashreplace"))
            failure = Failure("harness", describe_error(error))
        return recording_module.unplayed(
            scenario, failure, self._config.clock, costs_name(self._costs), self._driver.rates()[1]
        )

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
        """The trace with what the judge heard; a failure of the judge is recorded there, and not held against the system."""
        if self._judge is None:
            return trace, 0
        question, heard_ns = trace.scenario.question, 0
        judged: dict[str, str | None] = {}
        measured: dict[str, dict[str, float]] = {}
        try:
            if self._judge.losses >= JUDGE_LOSSES:
                raise SystemFailure(
                    "died", f"it hung or ended {JUDGE_LOSSES} times in succession and is not asked again"
                )
            judged["reply"], heard_ns = self._judge.call("hear", reply)
            asked = audio.load(question.audio) if question and question.text else None
            judged["floor"], floor_ns = self._judge.call("hear", asked) if asked else (None, 0)
            measured, failed, measured_ns = self._judge.call("measure", reply)
            heard_ns += floor_ns + measured_ns
            if failed:
                judged[JUDGE_PROBLEM] = "; ".join(f"metric {name!r}: {why}" for name, why in failed.items())
        except FobenchError as error:
            judged[JUDGE_PROBLEM] = f"the judge {self._config.judge!r} failed: {error}"
        return replace(trace, judge=judged, measured=measured), heard_ns


def _described(host: ProcessHost) -> dict[str, Any]:
    """The description of a component; {"problem": why} if its process does not give one."""
    try:
        return {**host.call("about")}
    except FobenchError as error:
        return {"problem": str(error)}
