"""Progress of a training run: a bar with an ETA on a terminal, else one line per minute.

The log holds the same values.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

from fobench.progress_bars import ProgressBars

LINE_S = 60.0  # interval of lines without a terminal
EMA_WEIGHT = 0.1  # weight of the newest step in the moving average of the step time

Watcher = Callable[[Mapping[str, float]], None]  # is called with each step's row of the log


@contextlib.contextmanager
def show_progress(name: str, steps: int, shown: bool = True) -> Iterator[Watcher]:
    """Yields a watcher of the training run `name` over `steps` steps that writes to standard error; a silent one unless
    `shown`.
    """
    if not shown:
        yield lambda row: None
        return
    stats = _RunningStats()
    with ProgressBars(interval_s=LINE_S) as bars:

        def watch(row: Mapping[str, float]) -> None:
            stats.add(row)
            step, scores, summary = int(row["step"]), scores_of(row), stats.summary()
            left = timedelta(seconds=round((steps - step) * stats.step_s))
            line = f"{name}: step {step:,} of {steps:,}, {summary}, eta {left}" + (f"; {scores}" if scores else "")
            note = f"{name}: step {step:,}: {scores}" if scores else ""
            bars.update(name, step, steps, summary, line=line, note=note)

        yield watch


class _RunningStats:
    """Newest loss and rate, skipped steps and clips, and the moving average of the step time in seconds."""

    def __init__(self) -> None:
        self.loss = self.rate = math.nan
        self.skipped, self.clips, self.step_s = 0, 0, 0.0
        self._step_start = time.monotonic()

    def add(self, row: Mapping[str, float]) -> None:
        now = time.monotonic()
        self.step_s += (now - self._step_start - self.step_s) * (EMA_WEIGHT if self.step_s else 1.0)
        self._step_start = now
        self.loss, self.rate = row["loss"], row["lr"]
        self.skipped += int(row["skipped"])
        self.clips = int(row.get("clips_skipped", self.clips))

    def summary(self) -> str:
        """Returns e.g. "loss 1.234, lr 0.00100, 2 steps and 5 clips skipped"."""
        counts = [f"{n} {what}" for n, what in ((self.skipped, "steps"), (self.clips, "clips")) if n]
        return f"loss {self.loss:.4g}, lr {self.rate:.3g}" + (f", {' and '.join(counts)} skipped" if counts else "")


def scores_of(row: Mapping[str, float]) -> str:
    """Returns the validation scores of a row, e.g. "wer 0.123"."""
    return ", ".join(f"{k.removeprefix('valid_')} {v:.4g}" for k, v in row.items() if k.startswith("valid_"))
