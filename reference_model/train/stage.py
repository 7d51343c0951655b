"""What the command of every stage has in common: its options, and a training that shows how it goes and can be stopped.

@stage_command(config="small", lr=1e-3, steps=6000)
@click.option("--data", ...)
def main(order: Order, data: ...) -> None:
    '''Trains input stage 1.'''
    order.train(stage)
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from fobench.errors import FobenchError
from reference_model.config import ModelConfig
from reference_model.train.engine import Stage, Trainer
from reference_model.train.loop import Loop, loop_of, settings
from reference_model.train.watching import watching


@dataclass(frozen=True, slots=True)
class Order:
    """What every stage is told: for which model, how long, and where to."""

    config: ModelConfig
    loop: Loop
    out: Path

    def train(self, stage: Stage) -> None:
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


class StageCommand(click.Command):
    """A command that, run as a program of its own, tells errors as `fobench` does."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except FobenchError as error:
            click.echo(f"fobench: {error}", err=True)
            sys.exit(2)


def stage_command(config: str, **defaults: Any) -> Callable[[Callable[..., None]], StageCommand]:
    """Makes a stage's function a command with --config, --out and --set, whose values it gets as `order`.

    `config`: the usual configuration; `defaults`: the stage's own settings of the loop.
    """

    def decorate(function: Callable[..., None]) -> StageCommand:
        @wraps(function)
        def main(config: str, out: Path, pairs: Sequence[str], **rest: Any) -> None:
            order = Order(ModelConfig.load(config), loop_of(defaults, pairs), out)
            out.mkdir(parents=True, exist_ok=True)
            function(order, **rest)

        for option in _options(config, defaults):
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
