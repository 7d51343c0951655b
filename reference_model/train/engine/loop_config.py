"""How long and how fast a stage trains, as its command line says it: `--set lr=0.001 --set steps=6000`."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from fobench.errors import FobenchError, unknown


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """The rate rises over `warmup` steps, stays, and falls to 0 over the last `decay` of them."""

    steps: int = 1000
    lr: float = 3e-4
    warmup: int = 100
    decay: float = 0.3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip: float = 1.0  # norm of the gradient
    accumulate: int = 1  # batches that make one step
    batch_s: float = 64.0  # seconds of audio in a batch
    batch_most: int = 64  # clips
    precision: Literal["no", "bf16", "fp16"] = "no"
    workers: int = 0  # processes that load data
    save_every_s: float = 240.0
    validate_every: int = 500
    spike: float = 4.0  # times the median loss: such a step is left out
    patience: int = 20  # bad steps in a row before it gives up
    seed: int = 0

    def rate(self, step: int) -> float:
        """The learning rate's factor at a step, in [0, 1]."""
        falling = max(1, round(self.steps * self.decay))
        return max(0.0, min(1.0, (step + 1) / max(1, self.warmup), (self.steps - step) / falling))


LEAST = {"steps": 1, "accumulate": 1, "batch_most": 1, "workers": 0, "validate_every": 1, "patience": 1}


def loop_of(defaults: Mapping[str, Any], pairs: Sequence[str]) -> LoopConfig:
    """A stage's own `defaults`, changed by NAME=VALUE `pairs`; a value is JSON, or a bare string.

    Raises FobenchError naming the setting that is unknown, of the wrong type or out of range.
    """
    chosen = dict(defaults)
    hints = typing.get_type_hints(LoopConfig)
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if name not in hints:
            raise unknown("setting of the loop", name, hints)
        if not equals:
            raise FobenchError(f"--set {pair}: write NAME=VALUE, e.g. --set lr=0.001.")
        chosen[name] = _value(name, text, hints[name])
    return LoopConfig(**chosen)


def settings(defaults: Mapping[str, Any]) -> str:
    """Every setting with the stage's default, for its help."""
    loop = LoopConfig(**defaults)
    return ", ".join(f"{f.name}={_shown(getattr(loop, f.name))}" for f in fields(loop))


def _value(name: str, text: str, kind: Any) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if typing.get_origin(kind) is Literal:
        if value not in typing.get_args(kind):
            raise FobenchError(f"--set {name}={text}: it must be one of {', '.join(typing.get_args(kind))}.")
        return value
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list) or len(value) != 2 or not all(map(_is_number, value)):
            raise FobenchError(f"--set {name}={text}: it must be two numbers, e.g. {name}=[0.9,0.98].")
        return tuple(map(float, value))
    if not _is_number(value) or (kind is int and value != int(value)):
        raise FobenchError(f"--set {name}={text}: it must be a {'whole ' if kind is int else ''}number.")
    if value < LEAST.get(name, 0):
        raise FobenchError(f"--set {name}={text}: it must be at least {LEAST.get(name, 0)}.")
    return kind(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")) if isinstance(value, tuple) else f"{value}"
