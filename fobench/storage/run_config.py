"""What a run is asked to do: one frozen value, saved in run.json and able to start the same run again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from fobench.api import registry
from fobench.api.types import NS_PER_MS
from fobench.errors import FobenchError, unknown
from fobench.simulation.costs import CostTable
from fobench.simulation.echo import DEFAULT_DELAY_MS, Echo

FLAGS = {  # options whose flag is not their name
    "suites": "--suite",
    "sample_ids": "--sample-id",
    "time_limit_s": "--time-limit",
    "playback_delay_ms": "--playback-delay",
    "echo_db": "--echo",
    "echo_delay_ms": "--echo-delay",
}
DEFAULT_BACKBONE = "smollm2-135m"
FREE = ("workers",)  # options that may change when a run is resumed: they change no result


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
    limit: int | None = None  # scenarios of each suite
    sample_ids: tuple[str, ...] = ()
    judge: str = "whisper"  # or "none"
    judge_args: Mapping[str, Any] = field(default_factory=dict)
    margin: float = 3.0  # points of accuracy, for the non-inferiority verdict
    clock: Literal["virtual", "wall"] = "virtual"
    costs: str = "measured"  # or "declared" (every step free), or "declared:FILE"
    device: str | None = None
    dtype: str | None = None
    seed: int = 0
    workers: int = 1
    time_limit_s: float = 120.0  # of one step of the system
    playback_delay_ms: int = 0  # the listener's own audio buffer
    echo_db: float | None = None  # what leaks of the playback into the user's channel, dB; None: nothing
    echo_delay_ms: int = DEFAULT_DELAY_MS
    text_routes: bool = True

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunConfig:
        """The configuration in run.json. Raises `FobenchError` for keys that this version does not know."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise FobenchError(f"run.json holds options unknown to this fobench: {', '.join(unknown)}.")
        tuples = {key: tuple(data[key]) for key in ("suites", "sample_ids") if key in data}
        return cls(**{**data, **tuples})

    def resumed(self, given: Mapping[str, Any]) -> RunConfig:
        """This configuration with the options that are given anew. Raises `FobenchError` for those that would change results."""
        changed = [key for key, value in given.items() if key not in FREE and value != getattr(self, key)]
        if changed:
            told = ", ".join(f"{flag(key)} (there {getattr(self, key)!r}, given {given[key]!r})" for key in changed)
            free = ", ".join(map(flag, FREE))
            raise FobenchError(
                f"A resumed run goes on as it began, so these cannot change: {told}. Leave them out, or begin another run "
                f"(what may change: {free})."
            )
        return replace(self, **{key: given[key] for key in FREE if key in given})

    def system_options(self) -> dict[str, Any]:
        """The factory's options: `system_args`, and the choices that have options of their own, where it takes them."""
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
        return registry.checked("systems", self.system, options)

    def suite_options(self, suite: str) -> dict[str, Any]:
        """Those of `suite_args` that are for this suite: `key`, for all of them, or `SUITE:key`, by its name or its family's.

        Raises `FobenchError` for a name that is none of the run's suites.
        """
        options: dict[str, Any] = {}
        narrower_last = sorted(self.suite_args.items(), key=lambda item: item[0].count(":"))
        for named, value in narrower_last:
            owner, _, key = named.rpartition(":")
            if not any(_belongs(name, owner) for name in self.suites):
                raise unknown("suite in --suite-args", owner, self.suites)
            if _belongs(suite, owner):
                options[key] = value
        return options

    def echo(self) -> Echo | None:
        """What leaks of the playback. Raises `FobenchError` for what no room does."""
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


def default_system(backbone: str | None, checkpoint: str | None) -> str:
    """The system that takes `checkpoint`, or that has one named `<system>/<backbone>`; else the cascade, which takes any LLM."""
    if checkpoint:
        factories = registry.factories("systems")
        return next(
            (name for name, make in factories.items() if "checkpoint" in registry.option_types(make)), "cascade"
        )
    names = (name.partition("/") for name in registry.factories("checkpoints"))
    wanted = backbone or DEFAULT_BACKBONE
    return next((system for system, _, made_for in names if made_for == wanted), "cascade")


def _belongs(suite: str, owner: str) -> bool:
    return owner in ("", suite) or suite.startswith(f"{owner}:")


def flag(option: str) -> str:
    """The command line's name of an option, e.g. `--time-limit` for `time_limit_s`."""
    return FLAGS.get(option, "--" + option.replace("_", "-"))


def misfit(data: Mapping[str, Any]) -> str | None:
    """What is of the wrong type in a configuration's plain data, in words; None if nothing is. Unknown keys are left alone."""
    hints, words = get_type_hints(RunConfig), {f.name: f.type for f in fields(RunConfig)}
    for key, value in data.items():
        if key in hints and not _fits(value, hints[key]):
            return f"{key} is {value!r}, not {words[key]}"
    return None


def _fits(value: Any, kind: Any) -> bool:
    origin, members = get_origin(kind), get_args(kind)
    if origin in (UnionType, Union):
        return any(_fits(value, member) for member in members)
    if origin is Literal:
        return value in members
    if origin is tuple:
        return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, int | float if kind is float else origin or kind)
