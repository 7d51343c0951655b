"""The format of run.json, which begins as the run's configuration and grows while it runs; other keys may stand beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fobench import outside_files
from fobench.storage.machine_load import MachineLoad
from fobench.storage.run_config import type_error

VERSION = 1


@dataclass(frozen=True, slots=True)
class Machine:
    """What latencies depend on; see `fobench.storage.environment.about`."""

    cpu: str | None = None
    cpu_model: str | None = None
    instruction_sets: list[str] | None = None
    cores: int | None = None
    memory_gb: float | None = None
    os: str | None = None
    python: str | None = None
    gpu: str | None = None


@dataclass(frozen=True, slots=True)
class Git:
    """The commit of the working tree, and whether it has uncommitted changes."""

    commit: str | None = None
    dirty: bool | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The keys of run.json that fobench reads."""

    version: int = VERSION
    fobench: str | None = None
    status: Literal["running", "interrupted", "failed", "complete"] | None = None
    config: dict[str, Any] = field(default_factory=dict)  # see `RunConfig`
    scenarios: list[str] = field(default_factory=list)
    scenarios_sha256: str | None = None
    seed: int | None = None
    clock: Literal["virtual", "wall"] | None = None
    costs: str | None = None
    judging: str | None = None  # when the judge worked: beside or between the dialogues; None without one
    conversations_at_once: int | None = (
        None  # with one system in real time; None where each worker has a system of its own
    )
    machine: Machine = field(default_factory=Machine)
    machine_load: list[MachineLoad] = field(default_factory=list)  # of each stretch of the run, the resumed ones too
    packages: dict[str, str | None] = field(default_factory=dict)
    git: Git = field(default_factory=Git)
    started: str | None = None
    components: dict[str, Mapping[str, Any] | None] = field(default_factory=dict)
    assets: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    duration_s: float = 0.0
    harness: dict[str, float | None] = field(default_factory=dict)


def record_error(run: Any) -> str | None:
    """A message about the first thing in a run.json that no run writes; None if it can be used."""
    try:
        record = outside_files.record(RunRecord, run, closed=False)
    except ValueError as error:
        return str(error)
    if record.version != VERSION:
        return f"it has version {record.version}, not {VERSION}: use the fobench that wrote it"
    if len(set(record.scenarios)) < len(record.scenarios):
        return "scenarios holds an id twice"
    if record.duration_s < 0:
        return f"duration_s is {record.duration_s:g}; it must be at least 0"
    return type_error(record.config)
