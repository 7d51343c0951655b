"""Several conversations at once, each in a thread of its own, on the wall clock."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")

STAGGER_S = 0.53  # between the beginnings of the first conversations
SPREAD_S = 8.0  # within which all of the first ones begin


def hold(
    waiting: queue.SimpleQueue[Item], holders: Sequence[Callable[[Item], None]], stopping: threading.Event
) -> None:
    """Each of `holders`, in its thread, is handed the next of the waiting items when it is free, until none is left.

    The first ones begin apart, as callers do. Returns when all threads have ended. After `stopping` is set, and after an error
    of a holder, which is raised at the end, nothing more is begun. Where it is interrupted, what has begun goes on for itself.
    """
    errors: list[BaseException] = []
    stagger_s = min(STAGGER_S, SPREAD_S / len(holders))

    def serve(number: int, holder: Callable[[Item], None]) -> None:
        stopping.wait(number * stagger_s)
        while not stopping.is_set() and not errors:
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                holder(item)
            except BaseException as error:  # raised where it is waited for
                errors.append(error)

    threads = [threading.Thread(target=serve, args=each, daemon=True) for each in enumerate(holders)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:  # Ctrl-C, where this is the main thread
        stopping.set()
        raise
    if errors:
        raise errors[0]
