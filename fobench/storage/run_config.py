"""The configuration of a run, saved in run.json; it can repeat the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

from fobench.api import registry, typed
from fobench.api.option_ranges import Decibels, Margin, Milliseconds, Scenarios, Seed, StepSeconds, Workers
from fobench.api.option_strings import check_owners, options_for
from fobench.api.registry import ComponentSpec
from fobench.api.types import NS_PER_MS
from fobench.errors import FobenchError
from fobench.simulation.costs import CostTable
from fobench.simulation.echo import DEFAULT_DELAY_MS, Echo

FLAGS = {  # flags that differ from the option's name
    "suites": "--suite",
    "sample_ids": "--sample-id",
    "time_limit_s": "--time-limit",
    "playback_delay_ms": "--playback-delay",
    "echo_db": "--echo",
    "echo_delay_ms": "--echo-delay",
    "asserts": "--assert",
}
NO_JUDGE = "none"  # no reference ASR: scores that need it are None with a reason
DEFAULT_BACKBONE = "smollm2-135m"
ANY_BACKBONE = "any"  # in the name of a checkpoint that fits every backbone
CHANGEABLE = (
    "workers",
    "asserts",
)  # options that may change on resume: results do not depend on them, but measured times on workers


@dataclass(frozen=True, slots=True)
class RunConfig:
    """The resolved options of `fobench run`."""

    system: str = "cascade"
    system_args: Mapping[str, Any] = field(default_factory=dict)
    backbone: str | None = None  # None: the system's own default
    backbone_args: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None  # weights of a trained system; None: those for the backbone
    codec: str | None = None
    codec_args: Mapping[str, Any] = field(default_factory=dict)
    suites: tuple[str, ...] = ("spoken-qa",)
    suite_args: Mapping[str, Any] = field(default_factory=dict)
    limit: Scenarios | None = None  # scenarios of each suite
    sample_ids: tuple[str, ...] = ()
    judge: str = "whisper"  # or NO_JUDGE
    judge_args: Mapping[str, Any] = field(default_factory=dict)
    margin: Margin = 3.0  # percentage points of accuracy, for the non-inferiority test
    clock: Literal["auto", "virtual", "wall"] = (
        "auto"  # "auto": real time for a system that lives in it, else simulated
    )
    costs: str = "measured"  # or "declared" (every step free), or "declared:FILE"
    device: str | None = None
    dtype: str | None = None
    seed: Seed = 0
    workers: Workers = 1
    time_limit_s: StepSeconds = 120.0  # of one step of the system
    playback_delay_ms: Milliseconds = 0  # length of the listener's playback buffer
    echo_db: Decibels | None = None  # level of the playback's echo in the user's channel, dB; None: no echo
    echo_delay_ms: Milliseconds = DEFAULT_DELAY_MS
    text_routes: bool = True
    asserts: tuple[str, ...] = ()  # absolute limits, e.g. "response_ms.p90<=1200"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunConfig:
        """The configuration in run.json. Raises `FobenchError` for a key that this version does not know, or a value out of range."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise FobenchError(f"run.json holds options unknown to this fobench: {', '.join(unknown)}.")
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in data.items()}
        if wrong := type_error(plain):
            raise FobenchError(f"The run's configuration is invalid: {wrong}.")
        tuples = {key: tuple(data[key]) for key in ("suites", "sample_ids", "asserts") if key in data}
        return cls(**{**data, **tuples})

    def with_changes(self, options: Mapping[str, Any]) -> RunConfig:
        """This configuration with changed options. Raises `FobenchError` for options that affect results."""
        changed = [key for key, value in options.items() if key not in CHANGEABLE and value != getattr(self, key)]
        if changed:
            listed = ", ".join(f"{flag(key)} (there {getattr(self, key)!r}, given {options[key]!r})" for key in changed)
            changeable = ", ".join(map(flag, CHANGEABLE))
            raise FobenchError(
                f"A resumed run keeps its configuration, so these options cannot change: {listed}. Leave them out, or begin another run "
                f"(what may change: {changeable})."
            )
        return replace(self, **{key: options[key] for key in CHANGEABLE if key in options})

    def system_spec(self) -> ComponentSpec:
        """The system with `system_args` and the options backbone, checkpoint, codec, device and dtype.

        Raises `FobenchError` for one that its factory does not take.
        """
        factory, leading = registry.find("systems", self.system)
        taken = registry.option_types(factory, skip=len(leading))
        options = dict(self.system_args)
        for key in ("backbone", "backbone_args", "checkpoint", "codec", "codec_args", "device", "dtype"):
            if not (value := getattr(self, key)):
                continue
            if key not in taken:
                raise FobenchError(
                    f"System {self.system!r} takes no {flag(key)}. Its options: {', '.join(taken) or 'none'}."
                )
            options[key] = value
        return registry.spec("systems", self.system, options)

    def suite_specs(self) -> tuple[ComponentSpec, ...]:
        """The distinct suites, each with its part of `suite_args`."""
        check_owners("suite", "--suite-args", self.suite_args, self.suites)
        return tuple(
            registry.spec("suites", name, options_for(self.suite_args, name)) for name in dict.fromkeys(self.suites)
        )

    def judge_spec(self) -> ComponentSpec | None:
        """The reference ASR; None without one. Raises `FobenchError` for options of none."""
        if self.judge != NO_JUDGE:
            return registry.spec("recognizers", self.judge, self.judge_args)
        if self.judge_args:
            given = ", ".join(map(str, self.judge_args))
            raise FobenchError(
                f"--judge {NO_JUDGE} takes no --judge-args ({given}): name a reference ASR, or leave them out."
            )
        return None

    def echo(self) -> Echo | None:
        """The echo of the playback; None without one. Raises `FobenchError` for an invalid level or delay."""
        return None if self.echo_db is None else Echo(self.echo_db, self.echo_delay_ms * NS_PER_MS)

    def cost_table(self) -> CostTable | None:
        """The declared costs, or None for measured ones."""
        kind, _, path = self.costs.partition(":")
        if kind == "measured" and not path:
            return None
        if kind != "declared":
            raise FobenchError(
                f"--costs {self.costs!r}: must be measured, declared (every step free) or declared:FILE."
            )
        return CostTable.load(Path(path)) if path else CostTable()


@dataclass(frozen=True, slots=True)
class RunComponents:
    """The checked components and settings of a configuration."""

    system: ComponentSpec
    judge: ComponentSpec | None
    costs: CostTable | None
    echo: Echo | None

    @classmethod
    def of(cls, config: RunConfig) -> RunComponents:
        return cls(config.system_spec(), config.judge_spec(), config.cost_table(), config.echo())


def default_system(backbone: str | None, checkpoint: str | None) -> str:
    """The system that takes `checkpoint`, or has one named `<system>/<backbone>` or `<system>/any`; without any, the cascade."""
    if checkpoint:
        factories = registry.factories("systems")
        return next(
            (name for name, make in factories.items() if "checkpoint" in registry.option_types(make)), "cascade"
        )
    systems = {
        trained_for: system for system, _, trained_for in (n.partition("/") for n in registry.factories("checkpoints"))
    }
    return systems.get(backbone or DEFAULT_BACKBONE) or systems.get(ANY_BACKBONE, "cascade")


def flag(option: str) -> str:
    """The command-line flag of an option, e.g. `--time-limit` for `time_limit_s`."""
    return FLAGS.get(option, "--" + option.replace("_", "-"))


def type_error(data: Mapping[str, Any]) -> str | None:
    """A message about the first value with a wrong type or out of range in a configuration's plain data, or None.

    Unknown keys are ignored.
    """
    hints = get_type_hints(RunConfig, include_extras=True)
    for key in filter(hints.__contains__, data):
        try:
            typed.convert(data[key], hints[key])
            for text in data[key] if isinstance(data[key], list | tuple) else (data[key],):
                if typed.usable(text) == "":
                    raise ValueError("must be a text that is not empty")
        except ValueError as error:
            return f"{key} is {typed.shown(data[key])}; it {error}"
    return None
