"""Shows how a training goes: a bar with an ETA on a terminal, else a line a minute. All of it is in the log, too."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

from fobench.console import console

LINE_S = 60.0  # between lines where there is no terminal
LATELY = 0.1  # weight of the newest step in the time that a step takes

Watcher = Callable[[Mapping[str, float]], None]  # told each step's row of the log


@contextlib.contextmanager
def watching(name: str, steps: int, shown: bool = True) -> Iterator[Watcher]:
    """A watcher of the training `name` over `steps` steps, on standard error; one that says nothing unless `shown`."""
    if not shown:
        yield lambda row: None
    elif console(stderr=True).is_terminal:
        with _bar(name, steps) as watch:
            yield watch
    else:
        yield _lines(name, steps)


@contextlib.contextmanager
def _bar(name: str, steps: int) -> Iterator[Watcher]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (BarColumn(16), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("eta"), TimeRemainingColumn())
    words = TextColumn("{task.description}", markup=False)
    with Progress(TextColumn(name), *columns, words, console=console(stderr=True)) as bar:
        task = bar.add_task("", total=steps)
        told = _Told()

        def watch(row: Mapping[str, float]) -> None:
            told.add(row)
            bar.update(task, completed=int(row["step"]), description=told.figures())
            if scores := scores_of(row):
                bar.console.print(f"{name}: step {int(row['step']):,}: {scores}", highlight=False, markup=False)

        yield watch


def _lines(name: str, steps: int) -> Watcher:
    told, last = _Told(), -math.inf

    def watch(row: Mapping[str, float]) -> None:
        nonlocal last
        told.add(row)
        step, scores = int(row["step"]), scores_of(row)
        if time.monotonic() - last < LINE_S and not scores and step < steps:
            return
        last = time.monotonic()
        left = timedelta(seconds=round((steps - step) * told.seconds))
        print(
            f"{name}: step {step:,} of {steps:,}, {told.figures()}, eta {left}" + (f"; {scores}" if scores else ""),
            file=sys.stderr,
            flush=True,
        )

    return watch


class _Told:
    """What of the steps so far is worth telling."""

    def __init__(self) -> None:
        self.loss = self.rate = math.nan
        self.skipped, self.clips, self.seconds = 0, 0, 0.0
        self._began = time.monotonic()

    def add(self, row: Mapping[str, float]) -> None:
        now = time.monotonic()
        self.seconds += (now - self._began - self.seconds) * (LATELY if self.seconds else 1.0)
        self._began = now
        self.loss, self.rate = row["loss"], row["lr"]
        self.skipped += int(row["skipped"])
        self.clips = int(row.get("clips_skipped", self.clips))

    def figures(self) -> str:
        """E.g. "loss 1.234, lr 0.00100, 2 steps and 5 clips skipped"."""
        counts = [f"{n} {what}" for n, what in ((self.skipped, "steps"), (self.clips, "clips")) if n]
        return f"loss {self.loss:.4g}, lr {self.rate:.3g}" + (f", {' and '.join(counts)} skipped" if counts else "")


def scores_of(row: Mapping[str, float]) -> str:
    """The validation's scores in a row, e.g. "wer 0.123"."""
    return ", ".join(f"{k.removeprefix('valid_')} {v:.4g}" for k, v in row.items() if k.startswith("valid_"))
