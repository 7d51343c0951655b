"""What a run is asked to do: one frozen value, saved in run.json and able to start the same run again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from fobench import plugins
from fobench.clock import CostTable
from fobench.errors import FobenchError


@dataclass(frozen=True, slots=True)
class Config:
    """The resolved options of `fobench run`."""

    system: str = "cascade"
    system_args: Mapping[str, Any] = field(default_factory=dict)
    backbone: str | None = None  # None: the system's own default
    backbone_args: Mapping[str, Any] = field(default_factory=dict)
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
    text_routes: bool = True

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Config:
        """The configuration in run.json. Raises `FobenchError` for keys that this version does not know."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise FobenchError(f"run.json holds options unknown to this fobench: {', '.join(unknown)}.")
        tuples = {key: tuple(data[key]) for key in ("suites", "sample_ids") if key in data}
        return cls(**{**data, **tuples})

    def system_options(self) -> dict[str, Any]:
        """The factory's options: `system_args`, and the choices that have options of their own, where it takes them."""
        factory, leading = plugins.find("systems", self.system)
        taken = plugins.option_types(factory, skip=len(leading))
        options = dict(self.system_args)
        for key in ("backbone", "backbone_args", "codec", "codec_args", "device", "dtype"):
            if not (value := getattr(self, key)):
                continue
            if key not in taken:
                flag = "--" + key.replace("_", "-")
                raise FobenchError(
                    f"System {self.system!r} takes no {flag}. Its options: {', '.join(taken) or 'none'}."
                )
            options[key] = value
        return plugins.checked("systems", self.system, options)

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
