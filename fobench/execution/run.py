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
from fobench.api import registry
from fobench.api.scenario import Scenario
from fobench.console import visible
from fobench.errors import FobenchError
from fobench.execution.progress import Progress, Watcher
from fobench.execution.scenario_selection import digest, select
from fobench.execution.worker import NO_JUDGE, ScenarioOutcome
from fobench.execution.worker_pool import WorkerPool
from fobench.simulation.costs import CostTable, costs_name
from fobench.storage import environment
from fobench.storage.run_config import RunConfig
from fobench.storage.run_folder import RunFolder

VERSION = 1


@dataclass(slots=True)
class RunTimes:
    """Where a run's time went, in ns, summed over workers."""

    system_ns: int = 0
    judge_ns: int = 0
    total_ns: int = 0
    scenarios: int = 0

    def add(self, finished: ScenarioOutcome) -> None:
        self.system_ns += finished.system_ns
        self.judge_ns += finished.judge_ns
        self.total_ns += finished.total_ns
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
    folder: RunFolder
    scenarios: list[Scenario]
    record: dict[str, Any]
    times: RunTimes = field(default_factory=RunTimes)

    @classmethod
    def begin(cls, config: RunConfig, path: Path) -> Run:
        """A new run: resolves everything and writes run.json. Raises `FobenchError` before anything is computed."""
        config.system_options()
        costs = config.cost_table()
        config.echo()
        if config.judge != NO_JUDGE:
            registry.checked("recognizers", config.judge, config.judge_args)
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
            "costs": costs_name(costs),
            "machine": environment.about(),
            "packages": environment.packages(),
            "git": environment.git(),
            "started": _now(),
        }
        folder = RunFolder(path)
        folder.create(record)
        return cls(config, folder, scenarios, record)

    @classmethod
    def resume(cls, path: Path, given: Mapping[str, Any] | None = None) -> Run:
        """The run in `path`, to be completed as it was configured; refused if its suites have changed since.

        `given`: options set anew (`output` and `resume` are `path` or refused).
        """
        folder = RunFolder(path)
        record = folder.read_run()
        if lacking := [key for key in ("config", "scenarios_sha256") if key not in record]:
            raise FobenchError(f"{path} cannot be resumed: its run.json has no {' and no '.join(lacking)}.")
        anew = dict(given or {})
        if (output := anew.pop("output", path)).resolve() != anew.pop("resume", path).resolve():
            raise FobenchError(f"--resume {path} goes on in that folder: leave out --output {output}.")
        config = RunConfig.from_json(record["config"]).resumed(anew)
        record["config"] = config.to_json()
        scenarios = select(config)
        if digest(scenarios) != record["scenarios_sha256"]:
            raise FobenchError(
                f"The suites of {path} have changed since it began: start a new run instead of resuming it."
            )
        folder.repair()
        return cls(config, folder, scenarios, record)

    def execute(self, watch: Watcher) -> None:
        """Runs what is not done yet. On any end, run.json tells the status; Ctrl-C arrives as KeyboardInterrupt."""
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
        crew = WorkerPool(self.config, self.folder.path / "run.log", pending)
        try:
            for outcome in crew.outcomes():
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
            crew.stop()

    def _keep(self, finished: ScenarioOutcome, progress: Progress) -> None:
        start = time.perf_counter_ns()
        trace = self.folder.add(finished.trace, finished.stereo, finished.rate_hz)
        self.times.add(replace(finished, total_ns=finished.total_ns + time.perf_counter_ns() - start))
        progress.done += 1
        progress.failed += trace.failure is not None
        progress.trace = trace
        outcome = f"{trace.failure.kind}: {trace.failure.message}" if trace.failure else "ok"
        self.folder.log(visible(f"{_now()} [{progress.done}/{progress.total}] {trace.id} {outcome}"))

    def _describe(self, about: dict[str, Any]) -> None:
        """Takes in what system and judge say of themselves; a hash that moved is the run's failure."""
        assets = self._assets(about)
        before = self.record.get("components", {}).get("system", {}).get("parameter_hash")
        after = about["system"].get("parameter_hash")
        if before and before != after:
            raise FobenchError(f"The frozen backbone changed: parameter hash {before} before, {after} after the run.")
        self.record |= {"components": about, "assets": assets}
        self.record["notes"] = _notes(about)
        self.folder.write_run(self.record)

    def _assets(self, about: dict[str, Any]) -> dict[str, str]:
        """Takes the assets out of `about`: {name: SHA-256} of all that the run has used."""
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
    """What a reader has to bear in mind about the components."""
    hears = about["system"].get("parts", {}).get("recognizer", {}).get("model")
    if hears and hears == about["judge"].get("model"):
        return [
            f"The judge hears with the weights of the system's own recogniser ({hears}), run by another engine: their errors may agree."
        ]
    return []


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
