"""Progress of a run on standard error: what is done, an ETA, and a line for each scenario's result as it comes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from fobench.api import registry
from fobench.api.trace import Trace
from fobench.console import console, counted, visible
from fobench.execution.progress import Progress, Watcher
from fobench.progress_bars import ProgressBars

VERDICTS = {1.0: "right", 0.0: "wrong"}  # by accuracy; other scenarios have none
WRITTEN = 28  # columns beside the bar


@contextlib.contextmanager
def watching(total: int, folder: Path) -> Iterator[Watcher]:
    """A watcher for `Run.execute`: a bar with the results above it on a terminal, else a line for each."""
    screen = console(stderr=True)
    header = f"{counted(total, 'scenario')} -> {visible(folder)}"
    screen.print(header, highlight=False, markup=False, soft_wrap=True)
    verdict, eta = LiveVerdict(), Eta()
    with ProgressBars() as bars:

        def watch(progress: Progress) -> None:
            failed = f", {progress.failed} failed" if progress.failed else ""
            count = f"{progress.done:>{len(str(total))}}/{total}"
            remaining = eta.update(progress.done, total)
            if progress.trace is None:
                bars.update("", progress.done, total, progress.message[:WRITTEN], line=f"{count}  {progress.message}")
                return
            result = f"{verdict.of(progress.trace)}  {outcome(progress.trace)}"
            line = fitted(f"{count}  {remaining:9}  {result}", screen.width)
            shown = fitted(f"{count}  {result}", screen.width)
            bars.update("", progress.done, total, f"{verdict.total}{failed}"[:WRITTEN], line=line, note=shown)

        yield watch


class LiveVerdict:
    """Whether replies are right, and how fast they came: for the eye only, scoring computes it anew from the traces."""

    def __init__(self) -> None:
        self._spoken, self._written, self._response = (
            registry.create("metrics", name) for name in ("accuracy_s2s", "accuracy_s2t", "response_ms")
        )
        self._right = self._scored = 0

    def of(self, trace: Trace) -> str:
        """A verdict and the response latency in columns, e.g. "right  1.2 s"."""
        values = [metric.score(trace, trace.scenario).value for metric in (self._spoken, self._written)]
        correct = next((value for value in values if value is not None), None)
        self._scored += correct is not None
        self._right += correct == 1.0
        response_ms = self._response.score(trace, trace.scenario).value
        seconds = "" if response_ms is None else f"{response_ms / 1000:.1f} s"
        return f"{VERDICTS.get(correct, '') if correct is not None else '':5}  {seconds:>5}"

    @property
    def total(self) -> str:
        return f"{self._right} of {self._scored} right" if self._scored else ""


class Eta:
    """The time that is left, by the pace since the first scenario of this process began."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def update(self, done: int, total: int) -> str:
        """E.g. "1:10 left"; empty before the first scenario is done, and at the end."""
        now = time.monotonic()
        first, start = self._first or (done, now)
        if done <= first:  # models are loaded, and the warm-up is played
            self._first = first, now
            return ""
        if done >= total:
            return ""
        minutes, seconds = divmod(round((total - done) * (now - start) / (done - first)), 60)
        return f"{minutes}:{seconds:02} left"


def outcome(trace: Trace) -> str:
    """A finished scenario as one line, with control characters escaped."""
    if trace.failure:
        return visible(f"{trace.id}: FAILED, {trace.failure.kind}: {trace.failure.message}")
    text = trace.answer.text.strip() if trace.answer else "(no reply)"
    return visible(f"{trace.id}: {text or '(a reply without text)'}")


def fitted(text: str, columns: int) -> str:
    """The text cut to a number of columns, with an ellipsis if it is longer."""
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= columns else f"{set_cell_size(text, columns - 1)}…"
