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
from fobench.console import counted, visible
from fobench.errors import FobenchError
from fobench.execution.judging import BESIDE_OTHERS, JUDGE_PROBLEM, ScenarioOutcome
from fobench.execution.progress import Progress, Watcher
from fobench.execution.scenario_selection import digest, select, select_with_notes
from fobench.execution.worker import judges_beside
from fobench.execution.worker_pool import WorkerPool
from fobench.scoring.scorer import check_limits
from fobench.simulation.costs import CostTable, costs_name
from fobench.storage import environment, machine_load, run_lock
from fobench.storage.run_config import RunComponents, RunConfig
from fobench.storage.run_folder import RunFolder

VERSION = 1
UNJUDGED = "Not every reply was judged (run.log has all), first"
UNDER_LOAD = "conversations were held at once: times are those of a system under that load."


@dataclass(slots=True)
class RunTimes:
    """The time that a run took in its parts, in ns, summed over workers.

    `start_ns`: of time.perf_counter, when the run was begun or resumed. `loading_ns`, `first_ns`: from then until the models
    of a worker were loaded, and until the first scenario was judged.
    """

    start_ns: int = field(default_factory=time.perf_counter_ns)
    loading_ns: int = 0
    first_ns: int = 0
    system_ns: int = 0
    routes_ns: int = 0
    judge_ns: int = 0
    worker_ns: int = 0
    scoring_ns: int = 0
    reports_ns: int = 0
    scenarios: int = 0

    def since_start_ns(self) -> int:
        return time.perf_counter_ns() - self.start_ns

    def add(self, outcome: ScenarioOutcome) -> None:
        self.first_ns = self.first_ns or self.since_start_ns()
        self.system_ns += outcome.system_ns
        self.routes_ns += outcome.routes_ns
        self.judge_ns += outcome.judge_ns
        self.worker_ns += outcome.worker_ns
        self.scenarios += 1

    def to_json(self) -> dict[str, Any]:
        """`overhead_s`: what the workers took beside the system; its fraction is of the system's time and this."""
        overhead = self.worker_ns - self.system_ns - self.routes_ns
        return {
            "scenarios": self.scenarios,
            "loading_s": round(self.loading_ns / 1e9, 3),
            "first_result_s": round(self.first_ns / 1e9, 3),
            "system_s": round(self.system_ns / 1e9, 3),
            "text_routes_s": round(self.routes_ns / 1e9, 3),
            "judge_s": round(self.judge_ns / 1e9, 3),
            "scoring_s": round(self.scoring_ns / 1e9, 3),
            "reports_s": round(self.reports_ns / 1e9, 3),
            "total_s": round(self.since_start_ns() / 1e9, 3),
            "overhead_s": round(overhead / 1e9, 3),
            "overhead_fraction": round(overhead / self.worker_ns, 4) if self.worker_ns else None,
        }

    def sentence(self) -> str:
        """What took how long, in whole seconds, e.g. "41 s; first result after 9 s. Loading 6 s, dialogues 20 s, ..."."""
        parts = {
            "loading models": self.loading_ns,
            "dialogues": self.system_ns,
            "text routes": self.routes_ns,
            "judge": self.judge_ns,
            "scoring": self.scoring_ns,
            "reports": self.reports_ns,
        }
        listed = ", ".join(f"{name} {ns / 1e9:.0f}" for name, ns in parts.items() if ns)
        first = f", the first result after {self.first_ns / 1e9:.0f}" if self.first_ns else ""
        return f"{self.since_start_ns() / 1e9:.0f} s{first}; {listed} s"


def _check_pooled(folder: RunFolder, before: int, now: int, measured: bool) -> None:
    """Raises `FobenchError` where a run has times that were measured beside another number of workers: they are not one distribution."""
    if measured and (done := sum(1 for _ in folder.traces())):
        raise FobenchError(
            f"{folder.path} has {counted(done, 'scenario')} whose times were measured with --workers {before}: under another load, those "
            f"of --workers {now} cannot be added to them. Resume it with --workers {before}, or begin another run."
        )


@dataclass(slots=True)
class Run:
    """A configured run in its folder."""

    config: RunConfig
    parts: RunComponents
    folder: RunFolder
    scenarios: list[Scenario]
    record: dict[str, Any]
    times: RunTimes
    healed: Sequence[str] = ()  # sentences about what was healed in the traces of a resumed run

    @classmethod
    def begin(cls, config: RunConfig, path: Path) -> Run:
        """Returns a new run: the configuration is resolved and run.json written. Raises `FobenchError` before any computation."""
        times, parts = RunTimes(), RunComponents.of(config)
        check_limits(config.asserts)
        scenarios, notes = select_with_notes(config)
        record = {
            "version": VERSION,
            "fobench": __version__,
            "status": "running",
            "config": config.to_json(),
            "scenarios": [scenario.id for scenario in scenarios],
            "scenarios_sha256": digest(scenarios),
            "seed": config.seed,
            "clock": "wall"
            if config.clock == "wall"
            else "virtual",  # of a system in real time: corrected when it is loaded
            "costs": costs_name(parts.costs),
            "judging": judges_beside(config) if parts.judge else None,
            "machine": environment.about(),
            "packages": environment.packages(),
            "git": environment.git(),
            "started": _now(),
            "notes": notes,
        }
        folder = RunFolder(path)
        run_lock.acquire(path)  # until the end of `execute`
        try:
            folder.create(record)
        except BaseException:
            run_lock.release(path)
            raise
        return cls(config, parts, folder, scenarios, record, times)

    @classmethod
    def resume(cls, path: Path, changes: Mapping[str, Any] | None = None) -> Run:
        """Returns the run in `path`, to be completed as configured; its traces are healed.

        `changes`: options given with --resume; `output` and `resume` must name `path`. Raises `FobenchError` if its suites have
        changed since, if another process writes to it, or if its traces cannot be healed.
        """
        folder = RunFolder(path)
        folder.read_run()  # it is a run
        folder.check_resumable()
        run_lock.acquire(path)  # until the end of `execute`
        try:
            return cls._resumed(folder, changes)
        except BaseException:
            run_lock.release(path)
            raise

    @classmethod
    def _resumed(cls, folder: RunFolder, changes: Mapping[str, Any] | None) -> Run:
        path, record, times = folder.path, folder.read_run(), RunTimes()
        if missing := [key for key in ("config", "scenarios_sha256") if key not in record]:
            raise FobenchError(f"{path} cannot be resumed: its run.json has no {' and no '.join(missing)}.")
        changes = dict(changes or {})
        if (output := changes.pop("output", path)).resolve() != changes.pop("resume", path).resolve():
            raise FobenchError(f"--resume {path} continues in that folder: leave out --output {output}.")
        begun = RunConfig.from_json(record["config"])
        config = begun.with_changes(changes)
        check_limits(config.asserts)
        record["config"] = config.to_json()
        parts, scenarios = RunComponents.of(config), select(config)
        if digest(scenarios) != record["scenarios_sha256"]:
            raise FobenchError(
                f"The suites of {path} have changed since it began: start a new run instead of resuming it."
            )
        healed = folder.repair()
        for sentence in healed:
            folder.log(f"{_now()} {sentence}")
        if config.workers != begun.workers:
            _check_pooled(folder, begun.workers, config.workers, measured=parts.costs is None)
            record.pop("conversations_at_once", None)
            record["notes"] = [note for note in record.get("notes", ()) if not note.endswith(UNDER_LOAD)]
        return cls(config, parts, folder, scenarios, record, times, healed)

    def execute(self, watch: Watcher) -> None:
        """Runs the scenarios that have no trace yet. However it ends, run.json holds the status; Ctrl-C raises KeyboardInterrupt."""
        try:
            self._execute(watch)
        finally:
            run_lock.release(self.folder.path)

    def _execute(self, watch: Watcher) -> None:
        done = {trace.id: trace for trace in self.folder.traces()}
        if strange := done.keys() - {scenario.id for scenario in self.scenarios}:
            raise FobenchError(
                f"{self.folder.traces_path} holds the scenario {min(strange)!r}, which is not of this run: remove its line."
            )
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
        load = machine_load.start()
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
            self.record.setdefault("machine_load", []).append(load.finish())
        finally:
            pool.stop()

    def _keep(self, done: ScenarioOutcome, progress: Progress) -> None:
        start = time.perf_counter_ns()
        trace = self.folder.add(done.trace, done.stereo, done.rate_hz)
        self.times.add(replace(done, worker_ns=done.worker_ns + time.perf_counter_ns() - start))
        progress.done += 1
        progress.failed += trace.failure is not None
        progress.trace = trace
        if problem := trace.judge.get(JUDGE_PROBLEM):
            self._note_judge(f"{trace.id}: {problem}")
        outcome = f"{trace.failure.kind}: {trace.failure.message}" if trace.failure else "ok"
        self.folder.log(visible(f"{_now()} [{progress.done}/{progress.total}] {trace.id} {outcome}"))

    def _describe(self, about: dict[str, Any]) -> None:
        """Records the descriptions of system and judge. Raises `FobenchError` if the frozen backbone's parameters changed."""
        self.times.loading_ns = self.times.loading_ns or self.times.since_start_ns()
        self.record["clock"] = about.pop("clock", self.record.get("clock"))
        self._describe_load(about.pop("conversations_at_once", None))
        assets = self._assets(about)
        recorded = {name: known or {} for name, known in self.record.get("components", {}).items()}
        for name, known in recorded.items():
            if "problem" in about.get(name, {}):
                about[name] = {**known, **about[name]}
        before = recorded.get("system", {}).get("parameter_hash")
        after = about["system"].get("parameter_hash")
        if before and after and before != after:
            raise FobenchError(f"The frozen backbone changed: parameter hash {before} before, {after} after the run.")
        self.record |= {"components": about, "assets": assets}
        self._note(*_notes(about))
        self.folder.write_run(self.record)

    def _describe_load(self, at_once: int | None) -> None:
        """Records how many conversations one system holds at once; None where each worker has a system of its own."""
        if at_once is None:
            return
        self.record["conversations_at_once"] = max(at_once, self.record.get("conversations_at_once", 1))
        if at_once > 1:
            self._note(f"{at_once} {UNDER_LOAD}")
            if self.parts.judge:
                self.record["judging"] = BESIDE_OTHERS

    def record_times(self) -> None:
        """Writes the times of scoring and reports into run.json."""
        if self.times.scenarios:
            self.record["harness"] = self.times.to_json()
            self.folder.write_run(self.record)

    def _note(self, *notes: str) -> None:
        """Adds what a reader must know to run.json's notes, each once."""
        self.record["notes"] = list(dict.fromkeys([*self.record.get("notes", ()), *notes]))

    def _note_judge(self, problem: str) -> None:
        """Adds a note for the first scenario that was not judged."""
        if not any(note.startswith(UNJUDGED) for note in self.record.get("notes", ())):
            self._note(f"{UNJUDGED} {problem}")

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
    notes = [
        f"The {name} could not describe itself: {one['problem']}" for name, one in about.items() if "problem" in one
    ]
    model = about["system"].get("parts", {}).get("recognizer", {}).get("model")
    if model and model == about["judge"].get("model"):
        notes.append(
            f"The reference ASR has the weights of the system's own speech recognizer ({model}), run by another engine: "
            "their errors may agree."
        )
    return notes


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
