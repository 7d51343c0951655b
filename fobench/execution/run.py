"""A run: one system on some suites, into a folder; resumable at any moment."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fobench import __version__
from fobench.api.scenario import Scenario
from fobench.console import visible
from fobench.errors import FobenchError
from fobench.execution.progress import Progress, Watcher
from fobench.execution.scenario_selection import digest, select
from fobench.execution.worker import ScenarioOutcome
from fobench.execution.worker_pool import WorkerPool
from fobench.simulation.costs import CostTable, costs_name
from fobench.storage import environment
from fobench.storage.run_config import RunComponents, RunConfig
from fobench.storage.run_folder import RunFolder

VERSION = 1


@dataclass(slots=True)
class RunTimes:
    """The time that a run took in its parts, in ns, summed over workers."""

    system_ns: int = 0
    judge_ns: int = 0
    total_ns: int = 0
    scenarios: int = 0

    def add(self, outcome: ScenarioOutcome) -> None:
        self.system_ns += outcome.system_ns
        self.judge_ns += outcome.judge_ns
        self.total_ns += outcome.total_ns
        self.scenarios += 1

    def to_json(self) -> dict[str, Any]:
        overhead = self.total_ns - self.system_ns - self.judge_ns
        return {
            "scenarios": self.scenarios,
            "system_s": round(self.system_ns / 1e9, 3),
            "judge_s": round(self.judge_ns / 1e9, 3),
            "overhead_s": round(overhead / 1e9, 3),
            "overhead_fraction": round(overhead / self.total_ns, 4) if self.total_ns else None,
        }


@dataclass(slots=True)
class Run:
    """A configured run in its folder."""

    config: RunConfig
    parts: RunComponents
    folder: RunFolder
    scenarios: list[Scenario]
    record: dict[str, Any]
    times: RunTimes = field(default_factory=RunTimes)

    @classmethod
    def begin(cls, config: RunConfig, path: Path) -> Run:
        """Returns a new run: the configuration is resolved and run.json written. Raises `FobenchError` before any computation."""
        parts = RunComponents.of(config)
        scenarios = select(config)
        record = {
            "version": VERSION,
            "fobench": __version__,
            "status": "running",
            "config": config.to_json(),
            "scenarios": [scenario.id for scenario in scenarios],
            "scenarios_sha256": digest(scenarios),
            "seed": config.seed,
            "clock": config.clock,
            "costs": costs_name(parts.costs),
            "machine": environment.about(),
            "packages": environment.packages(),
            "git": environment.git(),
            "started": _now(),
        }
        folder = RunFolder(path)
        folder.create(record)
        return cls(config, parts, folder, scenarios, record)

    @classmethod
    def resume(cls, path: Path, changes: Mapping[str, Any] | None = None) -> Run:
        """Returns the run in `path`, to be completed as configured. Raises `FobenchError` if its suites have changed since.

        `changes`: options given with --resume; `output` and `resume` must name `path`.
        """
        folder = RunFolder(path)
        record = folder.read_run()
        folder.check_resumable()
        if missing := [key for key in ("config", "scenarios_sha256") if key not in record]:
            raise FobenchError(f"{path} cannot be resumed: its run.json has no {' and no '.join(missing)}.")
        changes = dict(changes or {})
        if (output := changes.pop("output", path)).resolve() != changes.pop("resume", path).resolve():
            raise FobenchError(f"--resume {path} continues in that folder: leave out --output {output}.")
        config = RunConfig.from_json(record["config"]).with_changes(changes)
        record["config"] = config.to_json()
        parts, scenarios = RunComponents.of(config), select(config)
        if digest(scenarios) != record["scenarios_sha256"]:
            raise FobenchError(
                f"The suites of {path} have changed since it began: start a new run instead of resuming it."
            )
        folder.repair()
        return cls(config, parts, folder, scenarios, record)

    def execute(self, watch: Watcher) -> None:
        """Runs the scenarios that have no trace yet. However it ends, run.json holds the status; Ctrl-C raises KeyboardInterrupt."""
        done = {trace.id: trace for trace in self.folder.traces()}
        pending = [scenario for scenario in self.scenarios if scenario.id not in done]
        progress = Progress(len(self.scenarios), len(done), sum(t.failure is not None for t in done.values()))
        status, start = "failed", time.monotonic()
        try:
            if pending:
                self._work(pending, progress, watch)
            status = "complete"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            self.record["duration_s"] = round(self.record.get("duration_s", 0.0) + time.monotonic() - start, 1)
            self._close(status)

    def _work(self, pending: Sequence[Scenario], progress: Progress, watch: Watcher) -> None:
        pool = WorkerPool(self.parts, self.config, self.folder.path / "run.log", pending)
        try:
            for outcome in pool.outcomes():
                if isinstance(outcome, BaseException):
                    raise outcome
                if isinstance(outcome, ScenarioOutcome):
                    self._keep(outcome, progress)
                elif isinstance(outcome, dict):
                    self._describe(outcome)
                    continue
                else:
                    progress.message, progress.trace = outcome, None
                watch(progress)
        finally:
            pool.stop()

    def _keep(self, done: ScenarioOutcome, progress: Progress) -> None:
        start = time.perf_counter_ns()
        trace = self.folder.add(done.trace, done.stereo, done.rate_hz)
        self.times.add(replace(done, total_ns=done.total_ns + time.perf_counter_ns() - start))
        progress.done += 1
        progress.failed += trace.failure is not None
        progress.trace = trace
        outcome = f"{trace.failure.kind}: {trace.failure.message}" if trace.failure else "ok"
        self.folder.log(visible(f"{_now()} [{progress.done}/{progress.total}] {trace.id} {outcome}"))

    def _describe(self, about: dict[str, Any]) -> None:
        """Records the descriptions of system and judge. Raises `FobenchError` if the frozen backbone's parameters changed."""
        assets = self._assets(about)
        before = self.record.get("components", {}).get("system", {}).get("parameter_hash")
        after = about["system"].get("parameter_hash")
        if before and before != after:
            raise FobenchError(f"The frozen backbone changed: parameter hash {before} before, {after} after the run.")
        self.record |= {"components": about, "assets": assets}
        self.record["notes"] = _notes(about)
        self.folder.write_run(self.record)

    def _assets(self, about: dict[str, Any]) -> dict[str, str]:
        """Moves the assets out of `about`; returns {name: SHA-256} of all that the run has used."""
        found: dict[str, str] = dict(self.record.get("assets", {}))
        for name, sha256 in ((n, d) for part in about.values() for n, d in part.pop("assets", {}).items()):
            if found.setdefault(name, sha256) != sha256:
                raise FobenchError(f"The asset {name!r} is not what it was when this run began: start a new run.")
        return found

    def _close(self, status: str) -> None:
        self.record["status"] = status
        if self.times.scenarios:
            self.record["harness"] = self.times.to_json()
        self.folder.write_run(self.record)
        if status == "complete" and self.config.costs == "measured":
            table = CostTable.fit(self.folder.traces())
            self.folder.write_text("costs.json", json.dumps(table.to_json(), indent=1) + "\n")


def _notes(about: dict[str, Any]) -> list[str]:
    """Returns the caveats that follow from the components."""
    model = about["system"].get("parts", {}).get("recognizer", {}).get("model")
    if model and model == about["judge"].get("model"):
        return [
            f"The reference ASR has the weights of the system's own speech recognizer ({model}), run by another engine: "
            "their errors may agree."
        ]
    return []


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
