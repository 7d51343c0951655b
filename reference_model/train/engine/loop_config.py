"""Hyper-parameters of the training loop and their command-line form: `--set lr=0.001 --set steps=6000`."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from fobench.api import typed
from fobench.api.option_ranges import Amount, Between, Index, Seconds, Seed
from fobench.errors import FobenchError, unknown

Steps = Annotated[int, Between(1, 1_000_000_000)]
LearningRate = Annotated[float, Between(0.0, 10.0)]
Share = Annotated[float, Between(0.0, 1.0)]
Limit = Annotated[float, Between(0.0, 1e12)]  # of gradients and losses; a huge one is none


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """Settings of the loop.

    The learning rate rises over `warmup` steps, stays, and falls to 0 over the last `decay` of all steps.
    """

    steps: Steps = 1000
    lr: LearningRate = 3e-4
    warmup: Index = 100
    decay: Share = 0.3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: Amount = 0.01
    clip: Limit = 1.0  # maximal gradient norm
    accumulate: Steps = 1  # batches per step
    batch_s: Seconds = 64.0  # seconds of audio per batch
    batch_most: Steps = 64  # maximal number of clips per batch
    precision: Literal["no", "bf16", "fp16"] = "no"
    workers: Annotated[int, Between(0, 256)] = 0  # processes that load data
    save_every_s: Seconds = 240.0
    validate_every: Steps = 500
    spike: Limit = 4.0  # a step with a loss above this multiple of the median loss is skipped
    patience: Steps = 20  # skipped steps in a row before the run stops
    seed: Seed = 0

    def rate(self, step: int) -> float:
        """Returns the factor of the learning rate at a step, in [0, 1]."""
        decay_steps = max(1, round(self.steps * self.decay))
        return max(0.0, min(1.0, (step + 1) / max(1, self.warmup), (self.steps - step) / decay_steps))


def parse_loop_config(defaults: Mapping[str, Any], pairs: Sequence[str]) -> LoopConfig:
    """Returns the stage's `defaults`, overridden by NAME=VALUE `pairs`; a list is written as JSON.

    Raises FobenchError naming the setting that is unknown, of the wrong type or out of range.
    """
    chosen = dict(defaults)
    hints = typing.get_type_hints(LoopConfig, include_extras=True)
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if name not in hints:
            raise unknown("setting of the loop", name, hints)
        if not equals:
            raise FobenchError(f"--set {pair[:100]}: write NAME=VALUE, e.g. --set lr=0.001.")
        chosen[name] = _value(name, text, hints[name])
    return LoopConfig(**chosen)


def describe_settings(defaults: Mapping[str, Any]) -> str:
    """Returns every setting with the stage's default, for the help text."""
    loop = LoopConfig(**defaults)
    return ", ".join(f"{f.name}={_format(getattr(loop, f.name))}" for f in fields(loop))


def _value(name: str, text: str, kind: Any) -> Any:
    try:
        value = typed.convert(text, kind, text=True)
    except ValueError as error:
        raise FobenchError(f"--set {name}={text[:100]}: it {error}.") from error
    if name == "betas" and not all(0 <= beta < 1 for beta in value):
        raise FobenchError(f"--set {name}={text}: both must be at least 0 and below 1.")
    return value


def _format(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")) if isinstance(value, tuple) else f"{value}"
