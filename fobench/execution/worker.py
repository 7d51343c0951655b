"""A worker: one system and one judge, each in its own process, for one scenario after another."""

from __future__ import annotations

import contextlib
import copy
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from fobench.api.scenario import Scenario
from fobench.api.trace import Failure, Trace
from fobench.api.types import NS_PER_MS
from fobench.atomic_files import open_append
from fobench.errors import FobenchError, SystemFailure, describe_error
from fobench.execution import warm_up
from fobench.execution.judge import Judge
from fobench.execution.judging import BESIDE, BETWEEN, Judging, ScenarioOutcome, described
from fobench.execution.remote_driver import RemoteDriver
from fobench.execution.system_driver import LocalDriver
from fobench.process_host import LOAD_LIMIT_S, Lane, ProcessHost
from fobench.simulation import recording as recording_module
from fobench.simulation import replay, text_routes
from fobench.simulation.clock import Clock, VirtualClock, WallClock
from fobench.simulation.costs import costs_name
from fobench.storage.run_config import RunComponents, RunConfig

LOAD_STEPS = 24  # time for loading the system, in time limits of a step
JUDGE_LIMIT_S = 600.0


class Worker:
    """Hands each scenario's outcome to `deliver`, from another thread if there is a judge; also notes of what takes time.

    `audio_metrics`: names of the metrics that measure on audio. `log`: the file for the output of system and judge.
    """

    def __init__(
        self,
        parts: RunComponents,
        config: RunConfig,
        audio_metrics: tuple[str, ...],
        log: Path,
        deliver: Callable[[ScenarioOutcome | str], None],
    ) -> None:
        self._config, self._costs, self._echo, self._log = config, parts.costs, parts.echo, log
        driven = (parts.system, parts.costs is None)
        load_limit_s = min(LOAD_LIMIT_S, max(60.0, LOAD_STEPS * config.time_limit_s))

        def notes(name: str) -> Callable[[str], None]:
            return lambda text: deliver(f"{name}: {text}")

        self._system = ProcessHost(
            LocalDriver,
            driven,
            time_limit_s=config.time_limit_s,
            load_limit_s=load_limit_s,
            log=log,
            notes=notes(config.system),
        )
        judge = (parts.judge, audio_metrics)
        hosted = ProcessHost(Judge, judge, time_limit_s=JUDGE_LIMIT_S, log=log, notes=notes(config.judge))
        self._judge = hosted if parts.judge else None
        self._driver = RemoteDriver(self._system)
        self._deliver = deliver
        self._judging: Judging | None = None
        self._clock_name: Literal["virtual", "wall"] = "virtual"

    def load(self) -> None:
        """Starts both processes, side by side. Raises `FobenchError` if the system or the judge cannot be loaded."""
        if self._judge:
            beside = judges_beside(self._config) == BESIDE
            self._judging = Judging(self._judge, self._config.judge, self._deliver, beside=beside)
        try:
            self._driver.rates()
            self._clock_name = self._needed_clock()
            if self._judging:
                self._judging.wait()
        except SystemFailure as error:
            raise FobenchError(
                f"Cannot load system {self._config.system!r} or judge {self._config.judge!r}: {error}"
            ) from error

    @property
    def real_time(self) -> bool:
        """Whether the loaded system lives in real time: then it can hold several conversations at once."""
        return self._driver.real_time()

    def twin(self) -> Worker:
        """A worker for conversations at the same time, with the same system and judge; the judge steps back for them."""
        if self._judge:
            self._judge.step_back()
        twin = copy.copy(self)
        twin._driver = RemoteDriver(Lane(self._system))
        twin._judging = self._judging.twin() if self._judging else None
        return twin

    def about(self) -> dict[str, Any]:
        """Returns the descriptions of system and judge, e.g. {"system": {"backbone": ...}, "judge": {...}}, and the clock."""
        parts = {"system": described(self._system), "judge": described(self._judge) if self._judge else {}}
        return {**parts, "clock": self._clock_name}

    def warm_up(self, scenario: Scenario) -> None:
        """Replays a scenario up to the first audio and discards it: first calls are slower than all others."""
        if self._costs is None:
            warm_up.warm_up(scenario, self._driver, self._clock())  # the scenario's own run tells what goes wrong

    def run(self, scenario: Scenario) -> None:
        """Replays the scenario, asks the text routes, and has it judged. Whatever fails is recorded in the trace, not raised."""
        start, judging = time.perf_counter_ns(), self._judging
        recording = self._recorded(scenario)
        played = time.perf_counter_ns()
        judgment = judging.begin(scenario, recording_module.reply_audio(recording)) if judging else None
        judge_begun = time.perf_counter_ns()
        trace, routes_ns = self._routes(recording.trace)
        outcome = ScenarioOutcome(
            trace,
            recording_module.stereo(recording),
            recording.system.rate_hz,
            system_ns=recording.system_ns,
            routes_ns=routes_ns,
            judge_ns=0,
            worker_ns=time.perf_counter_ns() - start - (judge_begun - played),
        )
        if judging and judgment:
            judging.complete(outcome, judgment)
        else:
            self._deliver(outcome)

    def finish(self) -> None:
        """Waits until all scenarios are judged. Raises an error of the harness itself in judging."""
        if self._judging:
            self._judging.wait()

    def _recorded(self, scenario: Scenario) -> recording_module.Recording:
        """The recording of a scenario; one without events if it cannot be played at all, e.g. because its audio is missing."""
        try:
            return replay.replay(
                scenario,
                self._driver,
                self._clock(),
                clock_name=self._clock_name,
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
            scenario, failure, self._clock_name, costs_name(self._costs), self._driver.rates()[1]
        )

    def stop(self) -> None:
        self._system.stop()
        if self._judge:
            self._judge.stop()
        if self._judging:
            self._judging.end()

    def kill(self) -> None:
        """Ends both processes for good; called from another thread than the worker's."""
        if self._judging:
            self._judging.end()
        self._system.close()
        if self._judge:
            self._judge.close()

    def _clock(self) -> Clock:
        return WallClock() if self._clock_name == "wall" else VirtualClock(self._costs)

    def _needed_clock(self) -> Literal["virtual", "wall"]:
        """The clock of the configuration, or the one that the system needs. Raises FobenchError where they differ."""
        wanted, name = self._config.clock, self._config.system
        if not self._driver.real_time():
            return "wall" if wanted == "wall" else "virtual"
        if wanted == "virtual" or self._costs is not None:
            option = "--clock virtual" if wanted == "virtual" else "--costs declared"
            raise FobenchError(
                f"System {name!r} lives in real time: it answers when it answers, which a simulated clock cannot measure. "
                f"Leave out {option}."
            )
        return "wall"

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


def judges_beside(config: RunConfig) -> str:
    """When the judge works, `BESIDE` or `BETWEEN` the dialogues.

    Beside them only if the system's time does not count (declared costs): it may use all cores, and is measured.
    """
    return BETWEEN if config.costs == "measured" else BESIDE
