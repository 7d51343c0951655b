"""Common part of the stage commands: options, dry run, and a training run with progress that can be interrupted and resumed.

@stage_command(config="small", sample=sample_input_1, lr=1e-3, steps=6000)
@click.option("--data", ...)
def main(run: StageRun, data: ...) -> None:
    '''Trains input stage 1.'''
    run.train(stage)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
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
from reference_model.train.engine.loop_config import LoopConfig, describe_settings, parse_loop_config
from reference_model.train.engine.meta_device import META
from reference_model.train.engine.progress import show_progress
from reference_model.train.engine.signals import on_stop_signal
from reference_model.train.engine.trainer import Trainer, TrainingStage, checkpoints
from reference_model.train.stages.dry_run import DryRunCase

MakeSample = Callable[[DryRunCase], cost_estimate.DryRunBatch]


@dataclass(frozen=True, slots=True)
class StageRun:
    """Common options of a stage: model configuration, settings of the training loop, output folder."""

    config: ModelConfig
    loop: LoopConfig
    out: Path  # None in a dry run without --out

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return torch.device(PartialState().device)

    def in_process(self) -> StageRun:
        """Returns the run with batches made in the training process (no worker processes)."""
        return replace(self, loop=replace(self.loop, workers=0))

    def train(self, stage: TrainingStage) -> None:
        """Trains to the last step. On SIGINT, SIGTERM or SIGHUP it saves and raises FobenchError; the same command resumes."""
        trainer = Trainer(stage, self.loop, self.out)
        is_main = trainer.accelerator.is_main_process
        single_process = trainer.accelerator.num_processes == 1  # several would stop at different steps and deadlock
        stop_requests: list[int] = []  # signals received
        with (
            show_progress(stage.name, self.loop.steps, is_main) as show,
            on_stop_signal(stop_requests.append) if single_process else nullcontext(),
        ):
            for row in trainer.run():
                show(row)
                if stop_requests and trainer.step < self.loop.steps:
                    trainer.save()
                    raise FobenchError(
                        f"Stopped at step {trainer.step:,} of {self.loop.steps:,}. The same command resumes."
                    )


@dataclass(frozen=True, slots=True)
class DryRun:
    """Options of a dry run: number of devices and, for a device that is not present, its speed in TFLOPS."""

    devices: int
    tflops: float | None

    def print_report(self, make_sample: MakeSample, run: StageRun, options: Mapping[str, Any]) -> None:
        """Prints the estimated memory and time of training the stage with the batch that `make_sample` returns."""
        device = META if self.tflops else PartialState().device
        saved = checkpoints(run.out) if run.out else []
        done = int(saved[-1].name.removeprefix("step-")) if saved else 0
        with cost_estimate.dry_run_mode(device):
            sample = make_sample(DryRunCase(run.config, run.loop, device, self.devices, options))
            estimate = cost_estimate.measure(sample, run.loop, device)
        click.echo("\n".join(cost_estimate.report(sample, estimate, run.loop, done, self.devices, self.tflops)))


def stage_command(config: str, sample: MakeSample, **defaults: Any) -> Callable[[Callable[..., None]], StageCommand]:
    """Makes a stage's function a command with --config, --out, --set and the dry-run options; it gets a `StageRun` first.

    `config`: the default configuration; `sample`: makes the stage with a batch for a dry run; `defaults`: the stage's own settings of
    the training loop.
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
            run = StageRun(ModelConfig.load(config), parse_loop_config(defaults, pairs), out)
            if dry_run:
                DryRun(devices, tflops).print_report(sample, run, rest)
                return
            out.mkdir(parents=True, exist_ok=True)
            PartialState(
                cpu=parse_flag_from_env("ACCELERATE_USE_CPU")
            )  # before anything else: on CPUs, later callers find no process group
            function(run, **rest)

        for option in [*_dry_run_options(), *_options(config, defaults)]:
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
            help=f"Setting of the training loop; repeatable: {describe_settings(defaults)}.",
        ),
        click.option(
            "--out",
            type=click.Path(path_type=Path, file_okay=False),
            required=True,
            help="Folder of checkpoints and log; a run in it is resumed.",
        ),
        click.option(
            "--config", default=config, show_default=True, help="Configuration: paper, small, tiny, or a TOML file."
        ),
    ]


def _dry_run_options() -> list[Callable[[Any], Any]]:
    return [
        click.option(
            "--tflops",
            type=click.FloatRange(min=0, min_open=True),
            help="Dry run: estimate time for a device of this speed instead of measuring here.",
        ),
        click.option(
            "--devices",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="Dry run: number of devices that share a batch.",
        ),
        click.option(
            "--dry-run", is_flag=True, help="Only estimate memory and time. Needs no data and writes nothing."
        ),
    ]
