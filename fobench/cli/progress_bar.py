"""Progress of a run: a bar with an ETA on a terminal, else a line per scenario."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from fobench.api.trace import Trace
from fobench.console import console, counted, visible
from fobench.execution.progress import Progress, Watcher
from fobench.progress_bars import ProgressBars


@contextlib.contextmanager
def watching(total: int, folder: Path) -> Iterator[Watcher]:
    """A watcher for `Run.execute`, on standard error."""
    header = f"{counted(total, 'scenario')} -> {visible(folder)}"
    console(stderr=True).print(header, highlight=False, markup=False, soft_wrap=True)
    with ProgressBars() as bars:

        def watch(progress: Progress) -> None:
            failed = f" {progress.failed} failed" if progress.failed else ""
            text = visible(progress.trace.id) if progress.trace else progress.message
            line = outcome(progress.trace) if progress.trace else progress.message
            line = f"[{progress.done}/{progress.total}] {line}"
            bars.update("", progress.done, total, f"{text}{failed}"[:28], line=line)

        yield watch


def outcome(trace: Trace) -> str:
    """A finished scenario as one line, with control characters escaped."""
    if trace.failure:
        return visible(f"{trace.id}: FAILED, {trace.failure.kind}: {trace.failure.message}")
    text = trace.answer.text.strip() if trace.answer else "(no reply)"
    return visible(f"{trace.id}: {text or '(a reply without text)'}")
