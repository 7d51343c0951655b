"""Progress bars on standard error; where it is not a terminal, lines at intervals."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from fobench.console import console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


def print_line(line: str) -> None:
    """Prints on standard error; a broken pipe is ignored."""
    with contextlib.suppress(BrokenPipeError):
        print(line, file=sys.stderr, flush=True)


@dataclass
class ProgressBars:
    """A context manager that shows a bar for each name passed to `update`, from its first call on.

    `of_bytes`: bars show sizes and a rate instead of counts and elapsed time. `transient`: bars are removed at the end. Where
    standard error is not a terminal, `emit` gets a line at most every `interval_s` seconds.
    """

    of_bytes: bool = False
    transient: bool = False
    interval_s: float = 0.0
    emit: Callable[[str], None] = print_line
    _last_s: float = -math.inf  # when `emit` was last called
    _tasks: dict[str, TaskID] = field(default_factory=dict)

    def update(self, name: str, done: int, total: int, text: str = "", *, line: str = "", note: str = "") -> None:
        """Shows `done` of `total` (0: unknown) with `text` beside the bar; without a terminal, emits `line` unless it is empty.

        `note` is printed above the bars. The interval does not apply to the last line or to a line with a `note`.
        Texts are printed unescaped: pass untrusted text through `console.visible` first.
        """
        if self._bars:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=total or None, text=text)
            self._bars.update(self._tasks[name], completed=done, total=total or None, text=text)
            if note:
                self._bars.console.print(note, highlight=False, markup=False)
        elif line and (note or done == total or time.monotonic() - self._last_s >= self.interval_s):
            self._last_s = time.monotonic()
            self.emit(line)

    @cached_property
    def _bars(self) -> Progress | None:
        """The started bars; None if standard error is not a terminal."""
        screen = console(stderr=True)
        if not screen.is_terminal:
            return None
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        name, text = TextColumn("{task.description}", markup=False), TextColumn("{task.fields[text]}", markup=False)
        counters = (
            (DownloadColumn(), TransferSpeedColumn()) if self.of_bytes else (MofNCompleteColumn(), TimeElapsedColumn())
        )
        columns = (name, BarColumn(16), *counters, TextColumn("eta"), TimeRemainingColumn(), text)
        bars = Progress(*columns, console=screen, transient=self.transient)
        bars.start()
        return bars

    def __enter__(self) -> ProgressBars:
        return self

    def __exit__(self, *_: object) -> None:
        if "_bars" in vars(self) and self._bars:
            self._bars.stop()
