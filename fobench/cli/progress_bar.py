"""Shows a run's progress: a bar with an ETA in a terminal, a line a scenario elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from fobench.api.trace import Trace
from fobench.console import console, counted, visible
from fobench.execution.progress import Progress, Watcher


@contextlib.contextmanager
def watching(total: int, folder: Path) -> Iterator[Watcher]:
    """A watcher for `Run.execute`, on standard error."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    screen = console(stderr=True)
    screen.print(f"{counted(total, 'scenario')} -> {visible(folder)}", highlight=False, markup=False, soft_wrap=True)
    if not screen.is_terminal:
        yield _print_line
        return
    columns = (BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("eta"), TimeRemainingColumn())
    with Bar(*columns, TextColumn("{task.description}", markup=False), console=screen) as bar:
        task = bar.add_task("", total=total)

        def watch(progress: Progress) -> None:
            failed = f" {progress.failed} failed" if progress.failed else ""
            text = visible(progress.trace.id) if progress.trace else progress.message
            bar.update(task, completed=progress.done, description=f"{text}{failed}"[:28])

        yield watch


def _print_line(progress: Progress) -> None:
    text = outcome(progress.trace) if progress.trace else progress.message
    with contextlib.suppress(BrokenPipeError):  # nobody reads it any more: no reason to stop the run
        print(f"[{progress.done}/{progress.total}] {text}", file=sys.stderr, flush=True)


def outcome(trace: Trace) -> str:
    """One line on a finished scenario, harmless to a terminal."""
    if trace.failure:
        return visible(f"{trace.id}: FAILED, {trace.failure.kind}: {trace.failure.message}")
    reply = trace.answer
    return visible(f"{trace.id}: {reply.text.strip() if reply and reply.text.strip() else '(no reply)'}")
