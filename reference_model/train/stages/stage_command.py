"""What the command of every stage has in common: its options, and a training that shows how it goes and can be stopped.

@stage_command(config="small", sample=sample_input_1, lr=1e-3, steps=6000)
@click.option("--data", ...)
def main(order: Order, data: ...) -> None:
    '''Trains input stage 1.'''
    order.train(stage)
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import click
import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from fobench.errors import FobenchError
from reference_model.config import ModelConfig
from reference_model.train.engine import cost_estimate
from reference_model.train.engine.command import StageCommand
from reference_model.train.engine.loop_config import LoopConfig, loop_of, settings
from reference_model.train.engine.meta_device import META
from reference_model.train.engine.progress import watching
from reference_model.train.engine.trainer import Trainer, TrainingStage, checkpoints
from reference_model.train.stages.dry_run import DryRunCase

MakeSample = Callable[[DryRunCase], cost_estimate.DryRunBatch]


@dataclass(frozen=True, slots=True)
class StageRun:
    """What every stage is told: for which model, how long, and where to."""

    config: ModelConfig
    loop: LoopConfig
    out: Path  # None in a dry run where none was given

    @property
    def device(self) -> torch.device:
        """Where this process trains."""
        return torch.device(PartialState().device)

    def in_process(self) -> StageRun:
        """The same, with batches made by the training process itself."""
        return replace(self, loop=replace(self.loop, workers=0))

    def train(self, stage: TrainingStage) -> None:
        """Trains to the end, or until SIGINT or SIGTERM: then it saves, and the same command goes on."""
        trainer = Trainer(stage, self.loop, self.out)
        first = trainer.accelerator.is_main_process
        alone = trainer.accelerator.num_processes == 1  # many would stop at different steps, and wait for one another
        with watching(stage.name, self.loop.steps, first) as watch, _stopping(alone) as stop:
            for row in trainer.run():
                watch(row)
                if stop and trainer.step < self.loop.steps:
                    trainer.save()
                    raise FobenchError(
                        f"Stopped at step {trainer.step:,} of {self.loop.steps:,}. The same command goes on."
                    )


@dataclass(frozen=True, slots=True)
class DryRun:
    """What of a dry run is chosen: on how many devices, and, for devices that are not at hand, how fast one is."""

    devices: int
    tflops: float | None

    def tell(self, make_sample: MakeSample, order: StageRun, options: Mapping[str, Any]) -> None:
        """Prints what the training of the stage and batch that `make_sample` returns would cost."""
        device = META if self.tflops else PartialState().device
        kept = checkpoints(order.out) if order.out else []
        done = int(kept[-1].name.removeprefix("step-")) if kept else 0
        with cost_estimate.shapes_of(device):
            sample = make_sample(DryRunCase(order.config, order.loop, device, self.devices, options))
            found = cost_estimate.measure(sample, order.loop, device)
        click.echo("\n".join(cost_estimate.report(sample, found, order.loop, done, self.devices, self.tflops)))


def stage_command(config: str, sample: MakeSample, **defaults: Any) -> Callable[[Callable[..., None]], StageCommand]:
    """Makes a stage's function a command with --config, --out and --set, whose values it gets as `order`.

    `config`: the usual configuration; `sample`: the function that makes the stage with a batch for a dry run; `defaults`: the
    stage's own settings of the loop.
    """

    def decorate(function: Callable[..., None]) -> StageCommand:
        @wraps(function)
        def main(
            config: str,
            out: Path,
            pairs: Sequence[str],
            dry_run: bool,
            devices: int,
            tflops: float | None,
            **rest: Any,
        ) -> None:
            order = StageRun(ModelConfig.load(config), loop_of(defaults, pairs), out)
            if dry_run:
                DryRun(devices, tflops).tell(sample, order, rest)
                return
            out.mkdir(parents=True, exist_ok=True)
            PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))  # first of all: on CPUs, others find no group
            function(order, **rest)

        for option in [*_dry_options(), *_options(config, defaults)]:
            main = option(main)
        context = {"help_option_names": ["-h", "--help"]}
        return click.command(cls=StageCommand, context_settings=context)(main)

    return decorate


def _options(config: str, defaults: dict[str, Any]) -> list[Callable[[Any], Any]]:
    return [
        click.option(
            "--set",
            "pairs",
            multiple=True,
            metavar="NAME=VALUE",
            help=f"Of the loop; repeatable: {settings(defaults)}.",
        ),
        click.option(
            "--out",
            type=click.Path(path_type=Path, file_okay=False),
            required=True,
            help="Folder of checkpoints and log; a training in it is gone on with.",
        ),
        click.option(
            "--config", default=config, show_default=True, help="Configuration: paper, small, tiny, or a TOML file."
        ),
    ]


def _dry_options() -> list[Callable[[Any], Any]]:
    return [
        click.option(
            "--tflops",
            type=click.FloatRange(min=0, min_open=True),
            help="Dry run: for a device of this speed that is not at hand, counted and not measured.",
        ),
        click.option(
            "--devices",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="Dry run: how many share a batch.",
        ),
        click.option(
            "--dry-run", is_flag=True, help="Only say what memory and time it takes. Needs no data, writes nothing."
        ),
    ]


@contextmanager
def _stopping(ours: bool) -> Iterator[list[int]]:
    """A list that is empty until SIGINT or SIGTERM comes; with `ours` false they do what they always do."""
    found: list[int] = []
    if not ours:
        yield found
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, lambda number, frame: found.append(number))
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
